import { HodeiError } from "#error.ts";
import { headerBytes } from "#logstore/frames/frame.ts";
import type { Journal, PendingFrame } from "./journal.ts";
import type { FileLog } from "./log.ts";

export interface ValveOptions {
  readonly journal: Pick<Journal, "bytes" | "queuedBytes" | "add">;
  readonly logs: ReadonlyMap<unknown, FileLog>;
  /** The journal takes this much before anybody has to wait. */
  readonly boundBytes: number;
  /** Asks for the journal to be shortened; `settle` is called after every attempt at it. */
  readonly shorten: () => void;
}

/** So much of a log may be in a full journal at least. */
const leastShareBytes = 64 * 1024;

/**
 * Bounds the journal (DESIGN G21): when it is full, the logs that fill it wait until it has been shortened, and the others do not. A log whose frame waits
 * keeps its order, so its later frames wait behind it.
 */
export class Valve {
  readonly #options: ValveOptions;
  #held: { readonly log: FileLog; readonly pending: PendingFrame }[] = [];

  constructor(options: ValveOptions) {
    this.#options = options;
  }

  /** Passes a frame on to the journal, now or later. */
  add(log: FileLog, pending: PendingFrame): void {
    if (log.heldFrames === 0 && !this.#mustWait(log)) {
      this.#pass(log, pending);
      return;
    }
    log.heldFrames++;
    this.#held.push({ log, pending });
    this.#options.shorten();
  }

  /** A group was written. */
  written(): void {
    if (this.#held.length > 0) this.settle("shortened");
  }

  /** The journal was shortened, or could not be: lets go whoever may. What would wait for ever is refused as on a full disk, and may be sent again. */
  settle(outcome: "shortened" | "stuck"): void {
    const { journal, boundBytes, shorten } = this.#options;
    if (outcome === "stuck" && journal.bytes >= boundBytes) {
      this.refuse(new HodeiError("resource_exhausted", "the log journal is full"));
      return;
    }
    const held = this.#held;
    this.#held = [];
    const waiting = new Set<FileLog>();
    for (const one of held) {
      const { log, pending } = one;
      if (waiting.has(log) || this.#mustWait(log)) {
        waiting.add(log);
        this.#held.push(one);
      } else {
        log.heldFrames--;
        this.#pass(log, pending);
      }
    }
    // Otherwise it is what is being written that takes the room.
    if (this.#held.length > 0 && journal.bytes >= boundBytes) shorten();
  }

  /** Refuses the frames that wait, of one log or of all. */
  refuse(error: HodeiError, only?: FileLog): void {
    const refused = this.#held.filter(({ log }) => log === (only ?? log));
    if (refused.length === 0) return;
    this.#held = this.#held.filter(({ log }) => log !== (only ?? log));
    for (const { log, pending } of refused) {
      log.heldFrames--;
      pending.refused(error);
    }
  }

  #pass(log: FileLog, pending: PendingFrame): void {
    log.journalBytes += headerBytes + pending.frame.payload.length;
    this.#options.journal.add(pending);
  }

  #mustWait(log: FileLog): boolean {
    const { journal, logs, boundBytes } = this.#options;
    if (journal.bytes + journal.queuedBytes < boundBytes) return false;
    return log.journalBytes > Math.max(leastShareBytes, boundBytes / 4 / logs.size);
  }
}
