import { HodeiError } from "#error.ts";
import { isNoRoom, syncFolder, type Disk } from "./disk.ts";
import { headerBytes, writeHeader, type Frame } from "./frame.ts";
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
  /** Called once, when nobody knows any more what is on the disk. */
  readonly onBroken: (error: HodeiError) => void;
}

/** A group is written at once; a larger one would only make everybody wait longer. */
const groupBytes = 16 * 1024 * 1024;

/**
 * The one journal of all attempts. What is added while a group is on its way to the disk is the next group: one write that waits for the disk, then the
 * acknowledgements. The calls run in the thread pool, so a slow disk does not hold the event loop.
 */
export class Journal {
  readonly #folder: string;
  readonly #segments: Segment[];
  readonly #segmentBytes: number;
  readonly #disk: Disk;
  readonly #onBroken: (error: HodeiError) => void;
  #queue: PendingFrame[] = [];
  #running: Promise<void> | undefined;
  #newest = 0;
  #current: Segment | undefined;
  /** After an fsync that failed nobody knows what is on the disk; only opening again does. */
  #broken: HodeiError | undefined;
  #isFull = false;

  constructor({ folder, segments, segmentBytes, disk, onBroken }: JournalOptions) {
    this.#folder = folder;
    this.#segments = segments;
    this.#segmentBytes = segmentBytes;
    this.#disk = disk;
    this.#onBroken = onBroken;
    this.#newest = segments.at(-1)?.number ?? 0;
  }

  get isWritable(): boolean {
    return this.#broken === undefined && !this.#isFull;
  }

  get bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, 0);
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
          segment.live++;
          pending.stored(segment, at);
          at += headerBytes + pending.frame.payload.length;
        }
        segment.bytes = at;
      } catch (cause) {
        this.#refuse(group, cause);
      }
    }
    this.#running = undefined;
  }

  #takeGroup(): PendingFrame[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#queue.length && bytes < groupBytes) {
      bytes += this.#queue[count++]?.frame.payload.length ?? 0;
    }
    if (count < this.#queue.length) return this.#queue.splice(0, count);
    const group = this.#queue;
    this.#queue = [];
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
    for (const pending of refused) pending.refused(error);
  }
}

function asRefusal(cause: unknown): HodeiError {
  if (cause instanceof HodeiError) return cause;
  if (isNoRoom(cause))
    return new HodeiError("resource_exhausted", "the log disk is full", { cause });
  const hint = "restart the server: it reads again what is on the disk";
  return new HodeiError("unavailable", "the log journal cannot be written", { cause, hint });
}
