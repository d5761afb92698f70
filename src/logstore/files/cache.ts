import type { Frame } from "#logstore/frames/frame.ts";
import type { Entry } from "./log.ts";

/** The newest batches that somebody follows, so that any number of followers share one buffer. Bounded; what falls out is read from the disk. */
export class RecentFrames {
  readonly #limitBytes: number;
  #entries: Entry[] = [];
  #oldest = 0;
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Bytes that are held at most. */
  get bytes(): number {
    return this.#bytes;
  }

  put(entry: Entry, frame: Frame): void {
    if (entry.frame !== undefined || entry.payloadBytes > this.#limitBytes) return;
    entry.frame = frame;
    this.#entries.push(entry);
    this.#bytes += entry.payloadBytes;
    while (this.#bytes > this.#limitBytes) {
      const oldest = this.#entries[this.#oldest++];
      if (oldest === undefined) break;
      oldest.frame = undefined;
      this.#bytes -= oldest.payloadBytes;
    }
    if (this.#oldest > 1024 && this.#oldest * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#oldest);
      this.#oldest = 0;
    }
  }
}
