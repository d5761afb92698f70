import { HodeiError } from "#error.ts";
import { every, type Loop } from "#every.ts";
import type { LogArchiveStats } from "#logstore/logstore.ts";
import type { ObjectStore } from "#logstore/object-store.ts";
import type { Archive, Pack } from "./archive.ts";
import { errorCode, type WarningLog } from "./disk.ts";
import type { Keeper } from "./keeper.ts";
import { expiryOfKey, footerBytes, tailBytes } from "./pack.ts";

/** When packs go to the object store, and when they may go from this disk. */
export interface Shipping {
  readonly objects: ObjectStore;
  /** An ended log is stored as an object about so long after its end. */
  readonly delayMs: number;
  /** How long this disk keeps what is stored as an object. */
  readonly localMs: number;
  /** Beyond so many bytes the oldest of it goes earlier. */
  readonly localBytes: number;
}

export interface ShipperOptions extends Shipping {
  readonly archive: Archive;
  readonly keeper: Keeper;
  readonly log: WarningLog;
  readonly now: () => number;
}

const firstPauseMs = 1_000;
const mostPauseMs = 300_000;
/** The whole prefix is compared with what is known so often. */
const compareMs = 3_600_000;
/** A round goes on with other packs after so many that could not be stored. */
const mostFailures = 3;
/** Most tails are shorter. */
const likelyTailBytes = 66_000;

/**
 * Stores packs as objects, deletes them here when they may go, and deletes objects that have expired. Nobody waits for it: whatever fails is tried again
 * later, and until then the pack stays here. Objects that it does not know, from before a crash or from a lost disk, become known again.
 */
export class Shipper implements AsyncDisposable {
  readonly #options: ShipperOptions;
  readonly #loop: Loop;
  readonly #failed = new Map<Pack, number>();
  #endedSince: number | undefined;
  #expireBefore = -Infinity;
  #expiredBefore = -Infinity;
  #comparedAt = -Infinity;
  #pausedUntil = -Infinity;
  #failures = 0;

  constructor(options: ShipperOptions) {
    this.#options = options;
    const intervalMs = Math.min(60_000, Math.max(firstPauseMs, options.delayMs));
    this.#loop = every({ intervalMs, onError: (error) => this.#pause(error) }, (signal) =>
      this.#round(signal),
    );
  }

  get stats(): LogArchiveStats {
    const { packs } = this.#options.archive;
    return {
      storedBytes: sumOf(packs.filter(({ isRemote }) => isRemote)),
      waitingBytes: sumOf(packs.filter(({ isRemote }) => !isRemote)),
      isReachable: this.#failures === 0,
    };
  }

  /** A log has ended, or there is a new pack. */
  noticed(): void {
    this.#endedSince ??= performance.now();
    if (this.#options.delayMs === 0) this.#loop.wake();
  }

  /** Objects that expired before `now` may be deleted. */
  expire(now: number): void {
    this.#expireBefore = now;
    this.#loop.wake();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Ends the calls under way, which the loop waits for.
    await this.#options.objects[Symbol.asyncDispose]();
    await this.#loop[Symbol.asyncDispose]();
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { keeper, delayMs } = this.#options;
    if (this.#endedSince !== undefined && performance.now() - this.#endedSince >= delayMs) {
      this.#endedSince = undefined;
      if (keeper.hasEnded) await keeper.archiveEnded();
    }
    if (performance.now() < this.#pausedUntil) return;
    await this.#compare(signal);
    await this.#storePacks(signal);
    await this.#dropLocal();
    await this.#deleteExpired();
    if (this.#failures > 0) {
      this.#options.log.warn({ archive: this.#options.objects.name }, "log archive works again");
    }
    this.#failures = 0;
  }

  async #storePacks(signal: AbortSignal): Promise<void> {
    const { archive, objects } = this.#options;
    const waiting = archive.packs.filter(({ isRemote }) => !isRemote);
    const failuresOf = (pack: Pack) => this.#failed.get(pack) ?? 0;
    // What cannot be stored does not keep the others from it.
    waiting.sort((left, right) => failuresOf(left) - failuresOf(right));
    let failures = 0;
    for (const pack of waiting) {
      if (signal.aborted) return;
      try {
        await objects.put(pack.key, pack.path);
        await archive.markStored(pack);
        this.#failed.delete(pack);
      } catch (error) {
        if (errorCode(error) === "ENOENT") continue; // It expired just now.
        this.#failed.set(pack, failuresOf(pack) + 1);
        if (++failures >= mostFailures || !(error instanceof HodeiError)) throw error;
        if (pack === waiting.at(-1)) throw error;
      }
    }
  }

  async #dropLocal(): Promise<void> {
    const { archive, now, localMs, localBytes } = this.#options;
    let { bytes } = archive;
    for (const pack of archive.packs) {
      if (!pack.isLocal || !pack.isRemote) continue;
      if (bytes <= localBytes && pack.createdAt + localMs > now()) continue;
      bytes -= pack.bytes;
      await archive.dropLocal(pack).catch(ifGone);
    }
  }

  /** Names begin with the expiry, so that what has expired comes first. */
  async #deleteExpired(): Promise<void> {
    const { objects } = this.#options;
    const before = this.#expireBefore;
    if (before <= this.#expiredBefore) return;
    for await (const { key } of objects.list()) {
      const expiresAt = expiryOfKey(key);
      if (expiresAt === undefined) continue;
      if (expiresAt > before) break;
      await objects.delete(key);
    }
    this.#expiredBefore = before;
  }

  /** Finds objects that are not known here, and known ones that are not there. */
  async #compare(signal: AbortSignal): Promise<void> {
    if (performance.now() - this.#comparedAt < compareMs) return;
    const { archive, objects, now, log } = this.#options;
    const lost = new Map(
      archive.packs.flatMap((pack) => (pack.isRemote ? [[pack.key, pack] as const] : [])),
    );
    const known = new Set(archive.packs.map(({ key }) => key));
    let adopted = 0;
    for await (const { key, bytes } of objects.list()) {
      if (signal.aborted) return;
      lost.delete(key);
      if (known.has(key) || (expiryOfKey(key) ?? 0) <= Math.max(now(), this.#expireBefore))
        continue;
      const tail = await this.#readTail(key, bytes);
      if (tail === undefined) continue;
      await archive.adopt(tail);
      adopted++;
    }
    if (adopted > 0) log.warn({ archive: objects.name, adopted }, "took over archived logs");
    for (const pack of lost.values()) {
      if (pack.isLocal) await archive.markMissing(pack).catch(ifGone);
      log.warn({ archive: objects.name, key: pack.key }, "an archived log is missing");
    }
    this.#comparedAt = performance.now();
  }

  async #readTail(key: string, bytes: number): Promise<Buffer | undefined> {
    const { objects } = this.#options;
    if (bytes < footerBytes) return undefined;
    const likely = Math.min(bytes, likelyTailBytes);
    const end = await objects.read(key, bytes - likely, likely);
    const size = end === undefined ? undefined : tailBytes(end);
    if (end === undefined || size === undefined || size > bytes) return undefined;
    return size <= likely ? end.subarray(-size) : objects.read(key, bytes - size, size);
  }

  #pause(error: unknown): void {
    const { log, objects } = this.#options;
    if (this.#failures === 0) {
      log.warn(
        { err: error, archive: objects.name },
        "cannot reach the log archive: logs stay here",
      );
    }
    const pauseMs = Math.min(mostPauseMs, firstPauseMs * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 20);
    this.#pausedUntil = performance.now() + pauseMs * (0.5 + Math.random() / 2);
  }
}

function sumOf(packs: readonly Pack[]): number {
  return packs.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** It expired just now. */
function ifGone(error: unknown): void {
  if (errorCode(error) !== "ENOENT") throw error;
}
