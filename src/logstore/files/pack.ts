import { createHash } from "node:crypto";
import { unlink, type FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { isAttemptId, type AttemptId } from "#job/id.ts";
import type { GapReason } from "#log/record.ts";
import type { Mark } from "#logstore/frames/frame.ts";
import { blockHeaderBytes, type Block } from "#logstore/frames/block.ts";

/**
 * A pack holds logs that have ended: many small ones that expire at about the same time, or one large one. Blocks, then what is known of each log, an
 * index of fixed width, a footer. It never changes, and its tail (index and footer) is all that has to be here to find a log in one that is elsewhere.
 *
 * An entry of the index:  0 attempt · 28 bytes of what is known of the log · 32 where · 40 expiry · 48 crc of it · 52 tenant · 56 bytes of its blocks
 * The footer:  0 magic · 4 crc of what follows · 8 logs · 12 crc of the index · 16 where the index is · 24 newest expiry
 */
export interface PackTail {
  readonly logs: number;
  readonly indexAt: number;
  /** Of the whole pack. */
  readonly bytes: number;
  /** When the last of its logs expires, so that the whole pack can go. */
  readonly expiresAt: number;
  /** The attempt of each log; undefined for one that cannot be read. */
  readonly attempts: readonly (AttemptId | undefined)[];
  /** Bytes of the logs of each tenant, by its number. */
  readonly tenants: ReadonlyMap<number, number>;
  /** Index and footer as they stand in the pack. */
  readonly raw: Buffer;
}

/** What a pack says of one log. */
export interface ArchivedLog {
  readonly attempt: AttemptId;
  readonly number: number;
  readonly mark: Mark;
  readonly dropped: number;
  readonly expiresAt: number;
  readonly missing: GapReason | undefined;
  readonly blocks: readonly Block[];
  /** Whose it is, as a number; 0 or undefined: nobody said. */
  readonly tenant?: number;
}

/** Where in a pack it is said what is known of one log. */
export interface PackEntry {
  readonly attempt: string;
  readonly at: number;
  readonly bytes: number;
  readonly crc: number;
}

export const entryBytes = 64;
export const footerBytes = 40;
const footerMagic = 0x414a4c48;

/** How many bytes the tail has of which `end` is the end; undefined when that is no pack's. */
export function tailBytes(end: Buffer): number | undefined {
  if (end.length < footerBytes) return undefined;
  const footer = end.subarray(-footerBytes);
  if (footer.readUInt32LE(0) !== footerMagic) return undefined;
  if (crc32(footer.subarray(8)) !== footer.readUInt32LE(4)) return undefined;
  return footer.readUInt32LE(8) * entryBytes + footerBytes;
}

/** Reads and checks a whole tail. */
export function parseTail(raw: Buffer): PackTail | undefined {
  if (tailBytes(raw) !== raw.length) return undefined;
  const index = raw.subarray(0, -footerBytes);
  const footer = raw.subarray(-footerBytes);
  if (crc32(index) !== footer.readUInt32LE(12)) return undefined;
  const logs = footer.readUInt32LE(8);
  const indexAt = footer.readDoubleLE(16);
  const expiresAt = footer.readDoubleLE(24);
  const attempts = Array.from({ length: logs }, (_, place) => {
    const attempt = index.toString("latin1", place * entryBytes, place * entryBytes + 27);
    return isAttemptId(attempt) ? attempt : undefined;
  });
  const bytes = indexAt + raw.length;
  return { logs, indexAt, bytes, expiresAt, attempts, tenants: tenantsOf(index), raw };
}

function tenantsOf(index: Buffer): ReadonlyMap<number, number> {
  const sums = new Map<number, number>();
  for (let at = 0; at < index.length; at += entryBytes) {
    const tenant = index.readUInt32LE(at + 52);
    if (tenant !== 0) sums.set(tenant, (sums.get(tenant) ?? 0) + index.readDoubleLE(at + 56));
  }
  return sums;
}

export function parseEntry(entry: Buffer): PackEntry {
  return {
    attempt: entry.toString("latin1", 0, 27),
    at: entry.readDoubleLE(32),
    bytes: entry.readUInt32LE(28),
    crc: entry.readUInt32LE(48),
  };
}

/** Undefined when it is damaged. */
export function parseArchivedLog(meta: Buffer, { crc }: PackEntry): ArchivedLog | undefined {
  if (crc32(meta) !== crc) return undefined;
  // Its checksum says that this process's own kind wrote it.
  return JSON.parse(meta.toString()) as ArchivedLog;
}

const expiryDigits = 15;

/** The name of a pack as an object: when it expires, so that a listing says what may go, and what it is, so that storing it twice is storing it once. */
export function objectKey({ expiresAt, raw }: Pick<PackTail, "expiresAt" | "raw">): string {
  const digest = createHash("sha256").update(raw).digest("hex").slice(0, 24);
  return `${String(Math.ceil(expiresAt)).padStart(expiryDigits, "0")}-${digest}.pack`;
}

/** When the pack of that name expires; undefined for the name of something else. */
export function expiryOfKey(key: string): number | undefined {
  const match = /^(\d{15,})-[0-9a-f]{24}\.pack$/.exec(key);
  return match === null ? undefined : Number(match[1]);
}

/** Writes one pack from beginning to end. */
export class PackWriter {
  readonly path: string;
  readonly #file: FileHandle;
  readonly #logs: ArchivedLog[] = [];
  #at = 0;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;

  constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** Where the next bytes go. */
  get at(): number {
    return this.#at;
  }

  async write(pieces: readonly Buffer[]): Promise<void> {
    for (const piece of pieces) {
      this.#waiting.push(piece);
      this.#waitingBytes += piece.length;
      this.#at += piece.length;
    }
    if (this.#waitingBytes > 1024 * 1024 || this.#waiting.length > 512) await this.#flush();
  }

  /** Says that all blocks of a log were written. */
  add(log: ArchivedLog): void {
    this.#logs.push(log);
  }

  /** Makes it durable, and gives its tail. */
  async seal(): Promise<Buffer> {
    const index = Buffer.alloc(this.#logs.length * entryBytes);
    for (const [number, log] of this.#logs.entries()) {
      const meta = Buffer.from(JSON.stringify(log));
      const at = number * entryBytes;
      index.write(log.attempt, at, 27, "latin1");
      index.writeUInt32LE(meta.length, at + 28);
      index.writeDoubleLE(this.#at, at + 32);
      index.writeDoubleLE(log.expiresAt, at + 40);
      index.writeUInt32LE(crc32(meta), at + 48);
      index.writeUInt32LE(log.tenant ?? 0, at + 52);
      const stored = log.blocks.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
      index.writeDoubleLE(stored + log.blocks.length * blockHeaderBytes, at + 56);
      await this.write([meta]);
    }
    const footer = Buffer.alloc(footerBytes);
    footer.writeUInt32LE(footerMagic, 0);
    footer.writeUInt32LE(this.#logs.length, 8);
    footer.writeUInt32LE(crc32(index), 12);
    footer.writeDoubleLE(this.#at, 16);
    footer.writeDoubleLE(Math.max(...this.#logs.map(({ expiresAt }) => expiresAt)), 24);
    footer.writeUInt32LE(crc32(footer.subarray(8)), 4);
    await this.write([index, footer]);
    await this.#flush();
    await this.#file.datasync();
    await this.#file.close();
    return Buffer.concat([index, footer]);
  }

  /** Deletes what was begun. */
  async abandon(): Promise<void> {
    await this.#file.close();
    await unlink(`${this.path}.tmp`);
  }

  async #flush(): Promise<void> {
    const pieces = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (pieces.length === 0) return;
    const bytes = Buffer.concat(pieces);
    await this.#file.writeFile(bytes);
  }
}
