import { closeSync, openSync, readSync, rmSync, writeSync } from "node:fs";

/** Where a batch lies in a spool. */
export interface SpoolPlace {
  readonly at: number;
  readonly bytes: number;
}

/**
 * A ring in one file of bounded size: batches go in at one end and are dropped at the other, in the same order.
 * It is made on first use, and unlinked at once, so that nothing is left whatever becomes of the agent.
 */
export class Spool {
  readonly #path: string;
  readonly #capacity: number;
  #file: number | undefined;
  #isBroken = false;
  readonly #held: SpoolPlace[] = [];

  constructor(path: string, capacityBytes: number) {
    this.#path = path;
    this.#capacity = capacityBytes;
  }

  get isEmpty(): boolean {
    return this.#held.length === 0;
  }

  /** Keeps the bytes; undefined when there is no room, or no disk. */
  put(bytes: Uint8Array): SpoolPlace | undefined {
    const at = this.#roomFor(bytes.length);
    if (at === undefined || this.#isBroken) return undefined;
    try {
      this.#file ??= this.#open();
      for (let done = 0; done < bytes.length;) {
        done += writeSync(this.#file, bytes, done, bytes.length - done, at + done);
      }
    } catch {
      // A full or missing disk is no room: the job waits instead.
      this.#isBroken = this.#file === undefined;
      return undefined;
    }
    const place = { at, bytes: bytes.length };
    this.#held.push(place);
    return place;
  }

  get(place: SpoolPlace): Uint8Array {
    const bytes = Buffer.allocUnsafe(place.bytes);
    if (this.#file === undefined) throw new Error("the spool is closed");
    for (let done = 0; done < place.bytes;) {
      const read = readSync(this.#file, bytes, done, place.bytes - done, place.at + done);
      if (read === 0) throw new Error("the spool was cut short");
      done += read;
    }
    return bytes;
  }

  /** Gives up the oldest batch. */
  dropOldest(): void {
    this.#held.shift();
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
    this.#held.length = 0;
    this.#isBroken = true;
  }

  #open(): number {
    const file = openSync(this.#path, "wx+", 0o600);
    rmSync(this.#path);
    return file;
  }

  #roomFor(bytes: number): number | undefined {
    const oldest = this.#held.at(0);
    const newest = this.#held.at(-1);
    if (oldest === undefined || newest === undefined)
      return bytes <= this.#capacity ? 0 : undefined;
    const end = newest.at + newest.bytes;
    if (newest.at < oldest.at) return end + bytes <= oldest.at ? end : undefined;
    if (end + bytes <= this.#capacity) return end;
    return bytes <= oldest.at ? 0 : undefined;
  }
}
