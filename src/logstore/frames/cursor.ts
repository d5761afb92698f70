import { encodeBatch, gapChunk, scanBatch, sliceBatch } from "#log/batch.ts";
import { logStreams, type GapReason, type LogStream, type Sequences } from "#log/record.ts";
import type { LogEnd, StoredBatch } from "#logstore/logstore.ts";
import { markBefore, type Frame, type Mark } from "./frame.ts";

/** What a cursor has to know of a log, as it is now. */
export interface ReadableLog {
  /** What is durable. */
  readonly durable: { readonly number: number; readonly mark: Mark };
  /** Newest batch that the quota removed. */
  readonly dropped: number;
  readonly end: LogEnd | undefined;
}

/** Where a reader is, and what it has to be told next. */
export class Cursor {
  number: number;
  /** The last batch that was read; what was skipped since may have gone by the quota while it was looked for. */
  #read: number;
  readonly #log: ReadableLog;
  readonly #stream: LogStream | undefined;
  #last: Sequences;
  /** Bytes of each stream up to here; undefined until a batch has said so. */
  #bytes: Sequences | undefined;

  constructor(
    log: ReadableLog,
    stream: LogStream | undefined,
    { after, number }: { after: Sequences; number: number },
  ) {
    this.#log = log;
    this.#stream = stream;
    this.#last = after;
    this.number = number;
    this.#read = number;
  }

  *take(frame: Frame): Generator<StoredBatch> {
    if (frame.number <= this.number) return;
    const scan = frame.scan ?? scanBatch(frame.payload);
    const before = markBefore(frame, scan);
    const { dropped } = this.#log;
    const isQuota = this.#read < dropped && frame.number > dropped;
    yield* this.#gaps(before.last, { bytes: before.bytes, reason: isQuota ? "quota" : "corrupt" });
    const after = this.#last;
    const isWhole =
      this.#stream === undefined && logStreams.every((name) => before.last[name] >= after[name]);
    const wanted = { after, stream: this.#stream };
    const bytes = isWhole ? frame.payload : sliceBatch(frame.payload, wanted);
    this.number = frame.number;
    this.#read = frame.number;
    this.#advance(frame.mark.last, frame.mark.bytes);
    if (bytes !== undefined && bytes.length > 0) yield { bytes, last: this.#last };
  }

  /** Goes on behind a batch, whether or not it could be read. */
  skipTo(number: number): void {
    this.number = Math.max(this.number, number);
  }

  /** A gap for whatever is known to have been there. */
  *rest(reason?: GapReason): Generator<StoredBatch> {
    const { mark } = this.#log.durable;
    const isQuota = this.#read < this.#log.dropped;
    const why = reason ?? (isQuota ? "quota" : "corrupt");
    yield* this.#gaps(mark.last, { bytes: mark.bytes, reason: why });
  }

  /** What was lost before it came here takes one sequence number, so that a reader who resumes is not told twice. */
  *missing(): Generator<StoredBatch> {
    const reason = this.#log.end?.missing;
    const stream = this.#stream ?? "stdout";
    const last = this.#log.durable.mark.last[stream];
    if (reason === undefined || this.#last[stream] > last) return;
    const chunk = gapChunk(stream, last + 1, { records: 0, bytes: 0, reason });
    this.#last = { ...this.#last, [stream]: last + 1 };
    yield { bytes: encodeBatch([chunk]), last: this.#last };
  }

  *#gaps(to: Sequences, gap: { bytes: Sequences; reason: GapReason }): Generator<StoredBatch> {
    const chunks = logStreams.flatMap((name) => {
      const records = to[name] - this.#last[name];
      if (records <= 0 || (this.#stream ?? name) !== name) return [];
      const known = this.#bytes === undefined ? this.#startBytes(name) : this.#bytes[name];
      const bytes = known === undefined ? 0 : gap.bytes[name] - known;
      return [gapChunk(name, this.#last[name] + 1, { records, bytes, reason: gap.reason })];
    });
    if (chunks.length === 0) return;
    this.#advance(to, gap.bytes);
    yield { bytes: encodeBatch(chunks), last: this.#last };
  }

  /** Only at the beginning it is known how many bytes come before a record that was not read. */
  #startBytes(name: LogStream): number | undefined {
    return this.#last[name] === 0 ? 0 : undefined;
  }

  #advance(last: Sequences, bytes: Sequences): void {
    this.#last = newer(this.#last, last);
    this.#bytes = bytes;
  }
}

function newer(left: Sequences, right: Sequences): Sequences {
  return {
    stdout: Math.max(left.stdout, right.stdout),
    stderr: Math.max(left.stderr, right.stderr),
    system: Math.max(left.system, right.system),
  };
}
