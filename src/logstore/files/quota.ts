import { createHash } from "node:crypto";
import type { Archive } from "./archive.ts";
import type { FileLog } from "./log.ts";

export interface QuotaOptions {
  /** Bytes that one attempt may keep: the first half of it and the last half. */
  readonly bytesPerAttempt: number;
  /** When the logs of a tenant have more bytes than this, its logs keep their first and last bytes only; 0: no bound. */
  readonly bytesPerTenant: number;
}

/** What a log keeps of a tenant that has more than its quota. */
const leastBytes = 256 * 1024;
/** What tenants have is counted so often. */
const countMs = 500;

/** How much a log may keep. */
export class Quota {
  readonly #options: QuotaOptions;
  #logs: ReadonlyMap<unknown, FileLog> = new Map();
  #archive: Archive | undefined;
  #sums: ReadonlyMap<number, number> = new Map();
  #countedAt = -Infinity;

  constructor(options: QuotaOptions) {
    this.#options = options;
  }

  /** Says where the logs are that count; before that no tenant has too much. */
  counts(logs: ReadonlyMap<unknown, FileLog>, archive: Archive): void {
    this.#logs = logs;
    this.#archive = archive;
    this.#countedAt = -Infinity;
  }

  /** Half of what a log of the tenant may keep. */
  halfBytesOf(tenant: number): number {
    const { bytesPerAttempt, bytesPerTenant } = this.#options;
    const isOver = tenant !== 0 && bytesPerTenant > 0 && this.#bytesOf(tenant) > bytesPerTenant;
    return Math.floor((isOver ? Math.min(leastBytes, bytesPerAttempt) : bytesPerAttempt) / 2);
  }

  #bytesOf(tenant: number): number {
    if (performance.now() - this.#countedAt > countMs) {
      this.#sums = this.#count();
      this.#countedAt = performance.now();
    }
    return this.#sums.get(tenant) ?? 0;
  }

  #count(): ReadonlyMap<number, number> {
    const sums = new Map<number, number>();
    const add = (tenant: number, bytes: number) =>
      sums.set(tenant, (sums.get(tenant) ?? 0) + bytes);
    for (const { tenants } of this.#archive?.packs ?? []) {
      for (const [tenant, bytes] of tenants) add(tenant, bytes);
    }
    for (const { tenant, storedBytes } of this.#logs.values()) add(tenant, storedBytes);
    return sums;
  }
}

/** A tenant in 32 bits, as frames and packs name it; 0: none. Two that come to the same number, one pair in four billion, share their quota. */
export function tenantNumber(tenant: string): number {
  if (tenant === "") return 0;
  return createHash("sha256").update(tenant).digest().readUInt32LE(0) || 1;
}
