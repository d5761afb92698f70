import { randomBytes } from "node:crypto";
import { decodeBatch, encodeBatch } from "#log/batch.ts";
import { noSequences, type LogChunk, type LogStream } from "#log/record.ts";
import { attemptIdOf, type AttemptId } from "#job/id.ts";
import type { LogStore, NewBatch, ReadOptions, StoredBatch } from "#logstore/logstore.ts";

/** One record, or one gap, as a reader sees it. */
export interface Seen {
  readonly stream: LogStream;
  readonly sequence: number;
  readonly text: string;
}

export function newAttempt(): AttemptId {
  return attemptIdOf(randomBytes(17));
}

/** What an agent sends, and what a reader must see of it. */
export class Writer {
  readonly attempt = newAttempt();
  readonly records: Seen[] = [];
  readonly #next = { stdout: 1, stderr: 1, system: 1 };
  number = 0;

  /** The next batch: records of the named streams, neighbours of one stream in one chunk. */
  batch(...records: readonly (readonly [LogStream, string])[]): NewBatch {
    const chunks: LogChunk[] = [];
    for (const [stream, text] of records) {
      const sequence = this.#next[stream]++;
      this.records.push({ stream, sequence, text });
      const data = Buffer.from(text, "latin1");
      const newest = chunks.at(-1);
      if (newest?.stream === stream) {
        chunks[chunks.length - 1] = {
          ...newest,
          lengths: [...newest.lengths, data.length],
          data: Buffer.concat([newest.data, data]),
        };
        continue;
      }
      const times = { timeMicros: 1_760_000_000_000_000, timeOffsets: [] };
      const rest = { lengths: [data.length], data, gap: undefined };
      chunks.push({ stream, firstSequence: sequence, ...times, ...rest });
    }
    this.number++;
    return { number: this.number, bytes: encodeBatch(chunks) };
  }

  /** A batch of lines of standard output. */
  lines(...texts: readonly string[]): NewBatch {
    return this.batch(...texts.map((text) => ["stdout", text] as const));
  }
}

/** What the batches say, record by record; a gap is written as `gap:reason:records:bytes`. */
export function seenIn(batches: readonly StoredBatch[]): Seen[] {
  return batches.flatMap(({ bytes }) => decodeBatch(bytes)).flatMap(flatten);
}

/** Reads what is there now. */
export async function readAll(
  store: LogStore,
  attempt: AttemptId,
  options: Partial<ReadOptions> = {},
): Promise<Seen[]> {
  return seenIn(await batchesOf(store, attempt, options));
}

export async function batchesOf(
  store: LogStore,
  attempt: AttemptId,
  options: Partial<ReadOptions> = {},
): Promise<StoredBatch[]> {
  const signal = new AbortController().signal;
  const batches: StoredBatch[] = [];
  const wanted = { after: noSequences, follow: false, signal, ...options };
  for await (const batch of store.read(attempt, wanted)) batches.push(batch);
  return batches;
}

/** The records that a reader must see from a cursor on. */
export function after(records: readonly Seen[], options: Pick<ReadOptions, "after" | "stream">) {
  return records.filter(
    ({ stream, sequence }) =>
      sequence > options.after[stream] && (options.stream ?? stream) === stream,
  );
}

function flatten(chunk: LogChunk): Seen[] {
  const { stream, firstSequence, gap } = chunk;
  if (gap !== undefined) {
    const text = `gap:${gap.reason}:${gap.records}:${gap.bytes}`;
    return [{ stream, sequence: firstSequence, text }];
  }
  let at = 0;
  return chunk.lengths.map((length, index) => {
    const text = Buffer.from(chunk.data.subarray(at, at + length)).toString("latin1");
    at += length;
    return { stream, sequence: firstSequence + index, text };
  });
}
