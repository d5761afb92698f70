import type { Readable } from "node:stream";
import { BatchBuilder } from "#log/lines.ts";
import type { LogStream } from "#log/record.ts";
import { Spool, type SpoolPlace } from "./spool.ts";

export interface LogBounds {
  readonly batchBytes: number;
  readonly batchDelayMs: number;
  /** Unacknowledged bytes of an attempt that stay in memory. */
  readonly memoryBytes: number;
  /** Unacknowledged bytes of an attempt that go to disk after those. */
  readonly spoolBytes: number;
}

export interface NumberedBatch {
  readonly number: number;
  readonly bytes: Uint8Array;
}

interface HeldBatch {
  readonly number: number;
  readonly size: number;
  readonly bytes: Uint8Array | undefined;
  readonly place: SpoolPlace | undefined;
}

/**
 * The log of one attempt on its way out: what was read and is not acknowledged. First in memory, then on disk; when both are
 * full the job's pipes are not read, so that the job waits (DESIGN G21). Nothing is dropped but by `close`.
 */
export class AttemptLog {
  readonly #bounds: LogBounds;
  readonly #builder: BatchBuilder;
  readonly #spool: Spool;
  readonly #onReady: () => void;
  readonly #sources = new Set<Readable>();
  #held: HeldBatch[] = [];
  #memoryBytes = 0;
  #lastNumber = 0;
  #sentNumber = 0;
  #timer: NodeJS.Timeout | undefined;
  #isFull = false;
  #isClosed = false;
  #outputBytes = 0;
  #lastOutputAt: number | undefined;

  /** `onReady` is called whenever there is something new to send. */
  constructor(spoolPath: string, bounds: LogBounds, onReady: () => void) {
    this.#bounds = bounds;
    this.#builder = new BatchBuilder({ flushBytes: bounds.batchBytes });
    this.#spool = new Spool(spoolPath, bounds.spoolBytes);
    this.#onReady = onReady;
  }

  /** Number of the last batch so far; zero: none. */
  get lastBatch(): number {
    return this.#lastNumber;
  }

  get outputBytes(): number {
    return this.#outputBytes;
  }

  /** On the monotonic clock; undefined: never. */
  get lastOutputAt(): number | undefined {
    return this.#lastOutputAt;
  }

  /** Whether the job is held up because nothing more can be kept. */
  get isFull(): boolean {
    return this.#isFull;
  }

  get isDelivered(): boolean {
    return this.#held.length === 0 && this.#builder.waitingBytes === 0;
  }

  /** Takes all that a pipe gives until it ends. */
  read(stream: LogStream, source: Readable): void {
    this.#sources.add(source);
    source.on("data", (chunk: Buffer) => this.add(stream, chunk));
    // A pipe that breaks has ended; `close` follows.
    source.on("error", () => undefined);
    source.once("close", () => this.#sources.delete(source));
    if (this.#isFull) source.pause();
  }

  add(stream: LogStream, chunk: Buffer): void {
    if (this.#isClosed) return;
    this.#outputBytes += chunk.length;
    this.#lastOutputAt = performance.now();
    this.#builder.add(stream, chunk, Date.now() * 1000);
    for (const { bytes } of this.#builder.takeFull()) this.#keep(bytes);
    if (this.#timer === undefined && this.#builder.waitingBytes > 0) {
      this.#timer = setTimeout(() => this.flush(), this.#bounds.batchDelayMs);
    }
  }

  /** Makes a batch of what waits for more. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#isClosed) return;
    for (const { bytes } of this.#builder.flush(Date.now() * 1000)) this.#keep(bytes);
  }

  /** Size of the next batch to send; undefined: there is none. */
  get nextSize(): number | undefined {
    return this.#next()?.size;
  }

  /** The next batch, which then counts as sent. */
  take(): NumberedBatch | undefined {
    const next = this.#next();
    if (next === undefined) return undefined;
    this.#sentNumber = next.number;
    const bytes = next.bytes ?? (next.place && this.#spool.get(next.place));
    return bytes && { number: next.number, bytes };
  }

  /** After a new connection everything that was not acknowledged is sent again. */
  rewind(): void {
    this.#sentNumber = (this.#held[0]?.number ?? this.#lastNumber + 1) - 1;
  }

  acknowledge(number: number): void {
    let count = 0;
    for (const batch of this.#held) {
      if (batch.number > number) break;
      count++;
      if (batch.place === undefined) this.#memoryBytes -= batch.size;
      else this.#spool.dropOldest();
    }
    if (count === 0) return;
    this.#held.splice(0, count);
    if (this.#isFull && this.#memoryBytes <= this.#bounds.memoryBytes / 2) this.#resume();
  }

  /** Forgets everything; what is still written is read and dropped, so that nobody hangs on a full pipe. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isClosed = true;
    this.#held = [];
    this.#memoryBytes = 0;
    this.#spool.close();
    this.#resume();
  }

  #next(): HeldBatch | undefined {
    // Numbers have no holes, so the place of a batch follows from its number.
    const first = this.#held[0];
    return first && this.#held[this.#sentNumber + 1 - first.number];
  }

  #keep(bytes: Uint8Array): void {
    const number = ++this.#lastNumber;
    const isLight = this.#memoryBytes + bytes.length <= this.#bounds.memoryBytes;
    const place = isLight ? undefined : this.#spool.put(bytes);
    const inMemory = place === undefined ? bytes : undefined;
    this.#held.push({ number, size: bytes.length, bytes: inMemory, place });
    if (inMemory !== undefined) this.#memoryBytes += bytes.length;
    // What did not fit on disk is kept in memory all the same; the pipes stop, so it is one read at most.
    if (this.#memoryBytes > this.#bounds.memoryBytes) this.#pause();
    this.#onReady();
  }

  #pause(): void {
    this.#isFull = true;
    for (const source of this.#sources) source.pause();
  }

  #resume(): void {
    this.#isFull = false;
    for (const source of this.#sources) source.resume();
  }
}
