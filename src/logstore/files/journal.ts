import { HodeiError } from "#error.ts";
import type { AttemptId } from "#job/id.ts";
import { isNoRoom, syncFolder, type Disk } from "./disk.ts";
import { headerBytes, writeHeader, type Frame } from "#logstore/frames/frame.ts";
import { openSegment, type Segment } from "./segment.ts";

/** A frame on its way to the disk. Exactly one of the two is called, in the order of the journal. */
export interface PendingFrame {
  readonly frame: Frame;
  /** The frame is durable, at `at` in `segment`. */
  stored(segment: Segment, at: number): void;
  /** Nothing of the frame is kept, or, when the error is `unavailable`, nobody knows. */
  refused(error: HodeiError): void;
}

export interface JournalOptions {
  readonly folder: string;
  readonly segments: Segment[];
  readonly segmentBytes: number;
  readonly disk: Disk;
  /** Called after each group. */
  readonly onWritten: () => void;
  /** Called once, when nobody knows any more what is on the disk. */
  readonly onBroken: (error: HodeiError) => void;
}

/** A group is written at once; a larger one would only make everybody wait longer. */
const groupBytes = 8 * 1024 * 1024;

/**
 * The one journal of all attempts. What is added while a group is on its way to the disk is the next group: one write that waits for the disk, then the
 * acknowledgements. The calls run in the thread pool, so a slow disk does not hold the event loop.
 */
export class Journal {
  readonly #folder: string;
  readonly #segments: Segment[];
  readonly #segmentBytes: number;
  readonly #disk: Disk;
  readonly #onWritten: () => void;
  readonly #onBroken: (error: HodeiError) => void;
  #queue: PendingFrame[] = [];
  #queuedBytes = 0;
  #running: Promise<void> | undefined;
  #newest = 0;
  #current: Segment | undefined;
  /** After an fsync that failed nobody knows what is on the disk; only opening again does. */
  #broken: HodeiError | undefined;
  #isFull = false;

  constructor(options: JournalOptions) {
    const { folder, segments, segmentBytes, disk, onWritten, onBroken } = options;
    this.#folder = folder;
    this.#segments = segments;
    this.#segmentBytes = segmentBytes;
    this.#disk = disk;
    this.#onWritten = onWritten;
    this.#onBroken = onBroken;
    this.#newest = segments.at(-1)?.number ?? 0;
  }

  get isWritable(): boolean {
    return this.#broken === undefined && !this.#isFull;
  }

  get bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, 0);
  }

  /** Bytes that wait to be written, or are being written. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Oldest first. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }

  add(pending: PendingFrame): void {
    if (this.#broken !== undefined) {
      pending.refused(this.#broken);
      return;
    }
    this.#queue.push(pending);
    this.#queuedBytes += frameBytes(pending);
    this.#running ??= this.#run();
  }

  /** Refuses what comes from now on. */
  breakWith(error: HodeiError): void {
    this.#broken ??= error;
  }

  /** Whether a segment gets no more frames. */
  isClosed(segment: Segment): boolean {
    return segment !== this.#current;
  }

  /** Deletes the oldest segments as long as nothing in them is wanted. Only in order: an end never goes before its log's batches. */
  async dropUnused(): Promise<void> {
    for (;;) {
      const oldest = this.#segments[0];
      if (oldest === undefined || oldest.live > 0 || oldest === this.#current) return;
      this.#segments.shift();
      await oldest.drop();
    }
  }

  /** Lets the next group begin a new segment, so that the present one can be deleted. */
  roll(): void {
    if (this.#running === undefined) this.#current = undefined;
  }

  async close(): Promise<void> {
    await this.#running;
    await Promise.all(this.#segments.map((segment) => segment.close()));
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // Whatever this turn of the event loop adds is one group.
    while (this.#queue.length > 0) {
      const group = this.#takeGroup();
      try {
        const segment = await this.#writableSegment();
        await this.#write(segment, group);
        this.#isFull = false;
        let at = segment.bytes;
        for (const pending of group) {
          const bytes = frameBytes(pending);
          segment.live++;
          segment.bytes += bytes;
          this.#queuedBytes -= bytes;
          pending.stored(segment, at);
          at += bytes;
        }
        this.#onWritten();
      } catch (cause) {
        this.#refuse(group, cause);
      }
    }
    this.#running = undefined;
  }

  /** What waits, in order. When it is too much for one group, every attempt gets a share of it, so that none waits behind another one's noise. */
  #takeGroup(): PendingFrame[] {
    const queue = this.#queue;
    this.#queue = [];
    const mostBytes = Math.min(groupBytes, this.#segmentBytes);
    if (this.#queuedBytes <= mostBytes) return queue;
    const attempts = new Set(queue.map(({ frame }) => frame.attempt));
    const shareBytes = mostBytes / attempts.size;
    const taken = new Map<AttemptId, number>();
    const group: PendingFrame[] = [];
    for (const pending of queue) {
      const { attempt } = pending.frame;
      const bytes = taken.get(attempt) ?? 0;
      // The first frame that goes beyond the share is the last one of its attempt in this group.
      if (bytes < shareBytes) {
        group.push(pending);
        taken.set(attempt, bytes + frameBytes(pending));
      } else this.#queue.push(pending);
    }
    return group;
  }

  async #writableSegment(): Promise<Segment> {
    const current = this.#current;
    if (current !== undefined && current.bytes < this.#segmentBytes) return current;
    this.#newest++;
    const next = await openSegment(this.#folder, this.#newest);
    await syncFolder(this.#folder);
    this.#segments.push(next);
    this.#current = next;
    return next;
  }

  async #write(segment: Segment, group: readonly PendingFrame[]): Promise<void> {
    const headers = Buffer.allocUnsafe(group.length * headerBytes);
    const pieces: Uint8Array[] = [];
    group.forEach(({ frame }, index) => {
      const header = headers.subarray(index * headerBytes, (index + 1) * headerBytes);
      writeHeader(header, frame);
      pieces.push(header);
      if (frame.payload.length > 0) pieces.push(frame.payload);
    });
    try {
      await this.#disk.write(segment.file, pieces, segment.bytes);
    } catch (error) {
      if (!isNoRoom(error)) throw error;
      // Back to the last good frame: what was written of the group must not be found when the journal is opened.
      await segment.file.truncate(segment.bytes);
      throw new HodeiError("resource_exhausted", "the log disk is full", { cause: error });
    }
  }

  /** Frames behind the group may build on it, so they are refused as well. */
  #refuse(group: readonly PendingFrame[], cause: unknown): void {
    const error = asRefusal(cause);
    if (error.code === "resource_exhausted") this.#isFull = true;
    else if (this.#broken === undefined) {
      this.#broken = error;
      this.#onBroken(error);
    }
    const refused = [...group, ...this.#queue];
    this.#queue = [];
    this.#queuedBytes = 0;
    for (const pending of refused) pending.refused(error);
  }
}

function frameBytes({ frame }: PendingFrame): number {
  return headerBytes + frame.payload.length;
}

function asRefusal(cause: unknown): HodeiError {
  if (cause instanceof HodeiError) return cause;
  if (isNoRoom(cause))
    return new HodeiError("resource_exhausted", "the log disk is full", { cause });
  const hint = "restart the server: it reads again what is on the disk";
  return new HodeiError("unavailable", "the log journal cannot be written", { cause, hint });
}
