import { encodeParts, type ChunkParts } from "./batch.ts";
import { logLimits, logStreams, noSequences, type LogStream, type Sequences } from "./record.ts";

/** Whole records: `data` is all of them, one after another. */
export interface LineRun {
  readonly data: Uint8Array;
  readonly lengths: readonly number[];
}

/**
 * Cuts what one pipe gives into records: a line with its line feed, or 64 KiB of a longer line. Bytes are never changed or decoded.
 * It holds at most one unfinished record.
 */
export class LineSplitter {
  /** The unfinished record: a copy, so that it does not hold the pipe's buffer. */
  #rest: Buffer = Buffer.allocUnsafe(0);
  #restBytes = 0;

  /** Bytes of the unfinished record. */
  get waitingBytes(): number {
    return this.#restBytes;
  }

  /** The records that `chunk` completes, as a view of it where possible; undefined when it completes none. */
  push(chunk: Buffer): LineRun | undefined {
    const lengths: number[] = [];
    const held = this.#restBytes;
    const newline = chunk.indexOf(10);
    if (newline === -1 && held + chunk.length < logLimits.recordBytes) {
      this.#keep(chunk);
      return undefined;
    }
    // Positions count from the beginning of the unfinished record.
    let from = 0;
    for (let next = newline; next !== -1; next = chunk.indexOf(10, next + 1)) {
      from = cutLong(from, { to: held + next + 1, lengths });
      lengths.push(held + next + 1 - from);
      from = held + next + 1;
    }
    from = cutLong(from, { to: held + chunk.length + 1, lengths });
    const whole = chunk.subarray(0, from - held);
    const data = held === 0 ? whole : Buffer.concat([this.#rest.subarray(0, held), whole], from);
    this.#restBytes = 0;
    this.#keep(chunk.subarray(from - held));
    return lengths.length === 0 ? undefined : { data, lengths };
  }

  /** Gives up waiting for the rest of a line. */
  flush(): LineRun | undefined {
    if (this.#restBytes === 0) return undefined;
    const data = this.#rest.subarray(0, this.#restBytes);
    this.#rest = Buffer.allocUnsafe(0);
    this.#restBytes = 0;
    return { data, lengths: [data.length] };
  }

  #keep(bytes: Buffer): void {
    const size = this.#restBytes + bytes.length;
    if (size > this.#rest.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(256, size * 2));
      this.#rest.copy(grown, 0, 0, this.#restBytes);
      this.#rest = grown;
    }
    bytes.copy(this.#rest, this.#restBytes);
    this.#restBytes = size;
  }
}

/** Cuts full records off a line that ends at `to` until less than one is left; returns where the rest begins. */
function cutLong(from: number, { to, lengths }: { to: number; lengths: number[] }): number {
  let at = from;
  for (; to - at > logLimits.recordBytes; at += logLimits.recordBytes) {
    lengths.push(logLimits.recordBytes);
  }
  return at;
}

/** A batch as it is sent and stored. */
export interface BuiltBatch {
  /** Encoded `hodei.v1.LogBatch`. */
  readonly bytes: Uint8Array;
  readonly dataBytes: number;
  readonly records: number;
  /** Last record of each stream up to and with this batch. */
  readonly last: Sequences;
}

/** What a builder starts from; by default a new attempt and batches of 64 KiB. */
export interface BatchStart {
  readonly last?: Sequences;
  /** A batch is cut as soon as it has so many bytes. At most `logLimits.batchBytes - logLimits.recordBytes`. */
  readonly flushBytes?: number;
}

/**
 * Numbers the records of an attempt's streams and gathers them into batches, in the order in which they were read.
 * After each `add` send what `takeFull` gives; when something has waited long enough (the timer is the caller's), or at the end, send what `flush` gives.
 */
export class BatchBuilder {
  readonly #flushBytes: number;
  readonly #last: Record<LogStream, number>;
  readonly #splitters: Readonly<Record<LogStream, LineSplitter>> = {
    stdout: new LineSplitter(),
    stderr: new LineSplitter(),
    system: new LineSplitter(),
  };
  #full: BuiltBatch[] = [];
  #runs: Run[] = [];
  #records = 0;
  #bytes = 0;

  constructor({ last = noSequences, flushBytes = logLimits.recordBytes }: BatchStart = {}) {
    this.#last = { ...last };
    this.#flushBytes = Math.min(flushBytes, logLimits.batchBytes - logLimits.recordBytes);
  }

  /** Bytes that were added and not yet given back, with unfinished lines; zero: there is nothing to flush. */
  get waitingBytes(): number {
    const { stdout, stderr, system } = this.#splitters;
    const unfinished = stdout.waitingBytes + stderr.waitingBytes + system.waitingBytes;
    return this.#full.reduce((sum, { dataBytes }) => sum + dataBytes, this.#bytes + unfinished);
  }

  /** Last record of each stream that has got a number. */
  get last(): Sequences {
    return { ...this.#last };
  }

  /** Adds what was read of a pipe at a time. The bytes must not be changed until they were taken. */
  add(stream: LogStream, chunk: Buffer, timeMicros: number): void {
    const run = this.#splitters[stream].push(chunk);
    if (run !== undefined) this.#gather(stream, run, timeMicros);
  }

  /** Batches that are full, without waiting for more. */
  takeFull(): BuiltBatch[] {
    const full = this.#full;
    this.#full = [];
    return full;
  }

  /** Everything, with lines that are not finished; nothing stays behind. */
  flush(timeMicros: number): BuiltBatch[] {
    for (const stream of logStreams) {
      const run = this.#splitters[stream].flush();
      if (run !== undefined) this.#gather(stream, run, timeMicros);
    }
    this.#cut();
    return this.takeFull();
  }

  #gather(stream: LogStream, { data, lengths }: LineRun, timeMicros: number): void {
    let from = 0;
    let at = 0;
    let run = this.#runFor(stream, timeMicros);
    const place = () => {
      if (at > from) run.parts.push(data.subarray(from, at));
      from = at;
    };
    for (const length of lengths) {
      if (this.#bytes >= this.#flushBytes || this.#records >= logLimits.batchRecords) {
        place();
        this.#cut();
        run = this.#runFor(stream, timeMicros);
      }
      run.add(length, timeMicros);
      this.#last[stream]++;
      this.#records++;
      this.#bytes += length;
      at += length;
    }
    place();
    if (this.#bytes >= this.#flushBytes) this.#cut();
  }

  #runFor(stream: LogStream, timeMicros: number): Run {
    const newest = this.#runs.at(-1);
    if (newest?.stream === stream && newest.reaches(timeMicros)) return newest;
    const run = new Run(stream, this.#last[stream] + 1, timeMicros);
    this.#runs.push(run);
    return run;
  }

  #cut(): void {
    if (this.#records === 0) return;
    this.#full.push({
      bytes: encodeParts(this.#runs.filter(({ lengths }) => lengths.length > 0)),
      dataBytes: this.#bytes,
      records: this.#records,
      last: { ...this.#last },
    });
    this.#runs = [];
    this.#records = 0;
    this.#bytes = 0;
  }
}

/** Consecutive records of one stream that will be one chunk. */
class Run implements ChunkParts {
  readonly stream: LogStream;
  readonly firstSequence: number;
  readonly timeMicros: number;
  readonly lengths: number[] = [];
  readonly parts: Uint8Array[] = [];
  readonly gap = undefined;
  readonly #offsets: number[] = [];
  #hasOffsets = false;

  constructor(stream: LogStream, firstSequence: number, timeMicros: number) {
    this.stream = stream;
    this.firstSequence = firstSequence;
    this.timeMicros = timeMicros;
  }

  get timeOffsets(): readonly number[] {
    return this.#hasOffsets ? this.#offsets : [];
  }

  /** Whether a time can be written as an offset; a clock that went back counts as standing still. */
  reaches(timeMicros: number): boolean {
    return timeMicros - this.timeMicros < 2 ** 32;
  }

  add(length: number, timeMicros: number): void {
    const offset = Math.max(0, timeMicros - this.timeMicros);
    this.lengths.push(length);
    this.#offsets.push(offset);
    this.#hasOffsets ||= offset > 0;
  }
}
