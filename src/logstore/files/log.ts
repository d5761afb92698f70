import type { AttemptId } from "#job/id.ts";
import type { LogEnd } from "#logstore/logstore.ts";
import { logStreams, type LogStream, type Sequences } from "#log/record.ts";
import { headerBytes, noMark, type Frame, type Mark } from "#logstore/frames/frame.ts";
import type { ArchivedLog } from "./pack.ts";
import type { Block } from "#logstore/frames/block.ts";
import type { Part } from "./part.ts";
import type { Quota } from "./quota.ts";
import type { Segment } from "./segment.ts";

/** Where a batch stands in the journal. */
export interface Entry {
  readonly number: number;
  readonly segment: Segment;
  readonly at: number;
  readonly payloadBytes: number;
  readonly last: Sequences;
  /** The frame itself, while followers share it. */
  frame: Frame | undefined;
}

/** Where the next batch of a reader is. */
export type Place =
  | { readonly is: "entry"; readonly entry: Entry }
  | { readonly is: "block"; readonly part: Part; readonly block: Block };

/**
 * One log in memory: where its batches are. The older ones are in parts, the newer ones in the journal. Half of the quota, the head, is
 * never given up; of what comes after, the oldest goes once the rest fills the other half. Numbers that are missing between two batches
 * become gaps when they are read.
 */
export class FileLog {
  readonly attempt: AttemptId;
  /** Whose it is, as a number; 0: nobody said. */
  tenant = 0;
  /** What was taken, durable or not. */
  accepted: { readonly number: number; readonly mark: Mark } = { number: 0, mark: noMark };
  /** What is durable. */
  durable: { readonly number: number; readonly mark: Mark } = { number: 0, mark: noMark };
  /** In the journal, oldest first. */
  entries: Entry[] = [];
  /** Stored apart, oldest first, all older than the entries. */
  parts: Part[] = [];
  /** Newest batch that the quota removed. */
  dropped = 0;
  end: LogEnd | undefined;
  /** Where the end is, until the log is archived. */
  endSegment: Segment | undefined;
  isEnding = false;
  /** The journal was damaged when it was opened: the next batch may leave a hole, which becomes a gap. */
  mayJump = false;
  readers = 0;
  /** What is in the journal is being copied to parts, and goes with those. */
  isMoving = false;
  /** Bytes of it that are in the journal or on their way, without what the quota removed. */
  journalBytes = 0;
  /** Frames that wait for room in the journal. */
  heldFrames = 0;
  /** Last batch of the head; undefined while everything is. */
  headEnd: number | undefined;
  readonly #quota: Pick<Quota, "halfBytesOf">;
  #tailBytes = 0;
  /** Parts that the quota removed; their files stay until that is durable. */
  #removed: Part[] = [];

  constructor(attempt: AttemptId, quota: Pick<Quota, "halfBytesOf">) {
    this.attempt = attempt;
    this.#quota = quota;
  }

  /** A part takes no more when it holds so many bytes of batches: what the quota removes goes by whole parts. */
  get partBytes(): number {
    return this.#quota.halfBytesOf(this.tenant) / 4;
  }

  /** Bytes of it on this disk or on their way there. */
  get storedBytes(): number {
    return this.parts.reduce((sum, { bytes }) => sum + bytes, this.journalBytes);
  }

  /** Whether nothing of it is stored or on its way. */
  get isVoid(): boolean {
    return this.accepted.number === 0 && this.end === undefined && !this.isEnding;
  }

  /** Takes a durable batch into the index, and drops what the quota no longer has room for. */
  place(entry: Entry, mark: Mark): void {
    this.durable = { number: entry.number, mark };
    this.entries.push(entry);
    const halfBytes = this.#quota.halfBytesOf(this.tenant);
    if (this.headEnd === undefined && mark.stored > halfBytes) this.headEnd = entry.number - 1;
    if (this.headEnd === undefined) return;
    this.#tailBytes += entry.payloadBytes;
    this.#dropOldTail(halfBytes);
  }

  /** Takes notice that the quota had removed everything up to there behind the head: it stays so, also where there would be room for it now. */
  dropAgain(number: number): void {
    this.dropped = Math.max(this.dropped, number);
    for (const part of this.parts.filter(
      ({ isTail, lastNumber }) => isTail && lastNumber <= number,
    )) {
      this.#remove(part);
    }
    if (this.headEnd === undefined) {
      this.headEnd = number - 1;
      const tail = this.entries.filter((entry) => entry.number >= number);
      this.#tailBytes = tail.reduce((sum, { payloadBytes }) => sum + payloadBytes, 0);
    }
    const from = firstIndex(this.entries, (entry) => entry.number > (this.headEnd ?? 0));
    const to = firstIndex(this.entries, (entry) => entry.number > number);
    for (const entry of this.entries.splice(from, Math.max(0, to - from))) {
      this.#tailBytes -= entry.payloadBytes;
      this.#forget(entry);
    }
  }

  /** Takes a part that was found on the disk; `place` takes what is newer. */
  adopt(part: Part): void {
    this.parts.push(part);
    const newest = part.blocks.at(-1);
    if (newest === undefined) return;
    this.durable = { number: newest.lastNumber, mark: newest.mark };
    this.dropped = Math.max(this.dropped, newest.dropped);
    this.tenant ||= newest.tenant ?? 0;
    if (part.isTail) {
      this.headEnd ??= part.firstNumber - 1;
      this.#tailBytes += part.payloadBytes;
    }
  }

  /** Removes the parts that the quota no longer has room for. */
  dropParts(): void {
    const halfBytes = this.#quota.halfBytesOf(this.tenant);
    while (this.parts.length > 0) {
      const oldest = this.parts.find(({ isTail }) => isTail);
      if (oldest === undefined || this.#tailBytes - oldest.payloadBytes < halfBytes) break;
      this.#remove(oldest);
    }
  }

  /** Removed parts, now that it is durable that everything up to `dropped` is; the caller deletes their files. */
  takeRemoved(dropped: number): readonly Part[] {
    if (this.#removed.length === 0) return this.#removed;
    const taken = this.#removed.filter(({ lastNumber }) => lastNumber <= dropped);
    this.#removed = this.#removed.filter((part) => !taken.includes(part));
    return taken;
  }

  /** The batches `from` to `to` were copied from the journal to `part`, as these blocks. */
  move(part: Part, { from, to, blocks }: { from: number; to: number; blocks: Block[] }): void {
    const isMoved = ({ number }: Entry) => number >= from && number <= to;
    let bytes = blocks.reduce((sum, block) => sum + block.payloadBytes, 0);
    for (const entry of this.entries.filter(isMoved)) {
      bytes -= entry.payloadBytes;
      this.#forget(entry);
    }
    this.entries = this.entries.filter((entry) => !isMoved(entry));
    part.blocks.push(...blocks);
    if (part.blocks.length > 0 && !this.parts.includes(part)) this.parts.push(part);
    // What the quota removed while it was copied is there again.
    if (part.isTail) this.#tailBytes += bytes;
  }

  /** Forgets everything in the journal. */
  releaseAll(): void {
    for (const entry of this.entries) this.#forget(entry);
    this.entries = [];
    if (this.endSegment !== undefined) this.endSegment.live--;
    this.endSegment = undefined;
  }

  /** The first batch after `number`. */
  next(number: number): Place | undefined {
    for (const part of this.parts) {
      if (part.lastNumber <= number) continue;
      const block = part.blocks.find(({ lastNumber }) => lastNumber > number);
      if (block !== undefined) return { is: "block", part, block };
    }
    const entry = this.entries[firstIndex(this.entries, (found) => found.number > number)];
    return entry && { is: "entry", entry };
  }

  /** The newest batch of which all wanted records are known to be at or before `after`. */
  numberBefore(after: Sequences, stream: LogStream | undefined): number {
    const isNewer = (last: Sequences) =>
      logStreams.some((name) => (stream ?? name) === name && last[name] > after[name]);
    for (const part of this.parts) {
      const block = part.blocks.find(({ mark }) => isNewer(mark.last));
      if (block !== undefined) return block.firstNumber - 1;
    }
    const entry = this.entries[firstIndex(this.entries, ({ last }) => isNewer(last))];
    return entry === undefined ? this.durable.number : entry.number - 1;
  }

  #dropOldTail(halfBytes: number): void {
    const head = this.headEnd ?? 0;
    // A tail part is older than every entry, and it goes as a whole.
    if (this.isMoving || this.parts.some(({ isTail }) => isTail)) return;
    const from = firstIndex(this.entries, ({ number }) => number > head);
    let count = 0;
    for (let at = from; at < this.entries.length - 1; at++) {
      const entry = this.entries[at];
      if (entry === undefined || this.#tailBytes <= halfBytes) break;
      this.#tailBytes -= entry.payloadBytes;
      this.dropped = entry.number;
      this.#forget(entry);
      count++;
    }
    if (count > 0) this.entries.splice(from, count);
  }

  #remove(part: Part): void {
    this.parts = this.parts.filter((one) => one !== part);
    this.#tailBytes -= part.payloadBytes;
    this.dropped = Math.max(this.dropped, part.lastNumber);
    this.#removed.push(part);
  }

  #forget(entry: Entry): void {
    entry.segment.live--;
    entry.frame = undefined;
    this.journalBytes -= headerBytes + entry.payloadBytes;
  }
}

/** A log as the archive has it. */
export function archivedLog(
  { log: archived, part }: { readonly log: ArchivedLog; readonly part: Part },
  quota: Quota,
): FileLog {
  const log = new FileLog(archived.attempt, quota);
  log.parts = part.blocks.length === 0 ? [] : [part];
  log.durable = { number: archived.number, mark: archived.mark };
  log.dropped = archived.dropped;
  const { expiresAt, missing } = archived;
  log.end = missing === undefined ? { expiresAt } : { expiresAt, missing };
  return log;
}

/** Index of the first item that fulfils what all later ones do too. */
function firstIndex<T>(items: readonly T[], test: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const item = items[middle];
    if (item !== undefined && test(item)) high = middle;
    else low = middle + 1;
  }
  return low;
}
