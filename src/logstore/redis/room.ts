import { HodeiError } from "#error.ts";
import type { OpenLog } from "./open-log.ts";

export interface RoomOptions {
  /** Bytes of one log in its stream beyond which the older ones are sealed. */
  readonly liveBytesPerLog: number;
  /** Bytes of all logs in Redis. */
  readonly liveBytes: number;
  /** How long an append waits for room before it is refused. */
  readonly waitMs: number;
  /** Asks for room. */
  readonly seal: (log: OpenLog) => void;
}

/** So much of a log may be in a full Redis at least. */
const leastShareBytes = 64 * 1024;

/**
 * Bounds what lies in Redis (DESIGN G21): a log that is far ahead of its sealing waits, and when all logs together fill the room, those that fill it wait and the
 * others do not. Whoever waits too long is refused as on a full disk, and may send again; nothing is lost.
 */
export class Room {
  readonly #options: RoomOptions;
  readonly #waiting = new Set<() => void>();
  /** Of all replicas, when it was last asked for. */
  #sharedBytes = 0;
  /** Of this process since then. */
  #addedBytes = 0;
  #openLogs = 0;

  constructor(options: RoomOptions) {
    this.#options = options;
  }

  /** Bytes in Redis, as far as is known. */
  get usedBytes(): number {
    return this.#sharedBytes + this.#addedBytes;
  }

  /** Whether it is time to seal what could stay longer. */
  get isCrowded(): boolean {
    return this.usedBytes > this.#options.liveBytes / 2;
  }

  /** Resolves when the log may have another batch, to those of one log in their order. Error: `resource_exhausted` when it took too long. */
  async pass(log: OpenLog): Promise<void> {
    if (log.line === undefined && this.#hasRoom(log)) return;
    const before = log.line ?? Promise.resolve();
    const mine = before.then(() => this.#untilRoom(log));
    log.line = mine;
    try {
      await mine;
    } finally {
      if (log.line === mine) log.line = undefined;
    }
  }

  added(bytes: number): void {
    this.#addedBytes += bytes;
  }

  /** What is in Redis in all; or a log was sealed. */
  settle(shared?: { readonly bytes: number; readonly openLogs: number }): void {
    if (shared !== undefined) {
      this.#sharedBytes = shared.bytes;
      this.#openLogs = shared.openLogs;
      this.#addedBytes = 0;
    }
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  async #untilRoom(log: OpenLog): Promise<void> {
    const until = performance.now() + this.#options.waitMs;
    while (!this.#hasRoom(log)) {
      const leftMs = until - performance.now();
      if (leftMs <= 0) {
        const hint = "the log archive is slow, or there is less of it than jobs write";
        throw new HodeiError("resource_exhausted", "logs fill their room in Redis", { hint });
      }
      this.#options.seal(log);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      const late = setTimeout(resolve, leftMs);
      await promise;
      clearTimeout(late);
      this.#waiting.delete(resolve);
    }
  }

  #hasRoom({ liveBytes }: OpenLog): boolean {
    const { liveBytesPerLog, liveBytes: allBytes } = this.#options;
    if (liveBytes >= 2 * liveBytesPerLog) return false;
    if (this.usedBytes < allBytes) return true;
    return liveBytes <= Math.max(leastShareBytes, allBytes / 4 / Math.max(1, this.#openLogs));
  }
}
