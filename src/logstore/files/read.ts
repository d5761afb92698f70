import { encodeBatch, gapChunk, scanBatch, sliceBatch } from "#log/batch.ts";
import { logStreams, type GapReason, type LogStream, type Sequences } from "#log/record.ts";
import type { AttemptId } from "#job/id.ts";
import type { ReadOptions, StoredBatch } from "#logstore/logstore.ts";
import type { RecentFrames } from "./cache.ts";
import { errorCode, type WarningLog } from "./disk.ts";
import { markBefore, readFrame, type Frame } from "./frame.ts";
import type { FileLog, Place } from "./log.ts";
import { entryBytes, readBlock } from "./part.ts";
import { tailStart } from "./tail.ts";

/** What a reader needs of the store. */
export interface ReadSource {
  readonly recent: RecentFrames;
  readonly log: WarningLog;
  find(attempt: AttemptId): Promise<FileLog | undefined>;
  isExpired(log: FileLog): boolean;
  /** Refuses with `unavailable` once the store is closed. */
  assertOpen(): void;
  /** Resolves when something of the log changes, `signal` aborts, or the store closes; never rejects. */
  change(attempt: AttemptId, signal: AbortSignal): Promise<void>;
}

/** Reads one log. Between two steps it holds no more than one block, so a slow reader is nobody's burden. */
export async function* readLog(
  source: ReadSource,
  attempt: AttemptId,
  options: ReadOptions,
): AsyncGenerator<StoredBatch> {
  const log = await findOrWait(source, attempt, options);
  if (log === undefined) return;
  log.readers++;
  try {
    const start =
      options.tailLines === undefined
        ? { after: options.after, number: log.numberBefore(options.after, options.stream) }
        : await tailStart(source, log, { lines: options.tailLines, stream: options.stream });
    const cursor = new Cursor(log, options.stream, start);
    while (!options.signal.aborted) {
      source.assertOpen();
      if (source.isExpired(log)) {
        yield* cursor.rest("expired");
        return;
      }
      const place = log.next(cursor.number);
      if (place !== undefined) {
        for (const frame of await framesAt(source, log, place)) {
          if (options.signal.aborted) return;
          yield* cursor.take(frame);
        }
        // What is somewhere else by now is read there, and what the quota removed meanwhile is told as that.
        if (place.is === "entry" || log.parts.includes(place.part)) cursor.skipTo(place);
      } else if (log.end !== undefined || !options.follow) {
        yield* cursor.rest();
        yield* cursor.missing();
        return;
      } else {
        await source.change(attempt, options.signal);
      }
    }
  } finally {
    log.readers--;
  }
}

/** The batches at a place; those that are damaged are left out, which shows as a gap. */
export async function framesAt(
  source: ReadSource,
  log: FileLog,
  place: Place,
): Promise<readonly Frame[]> {
  if (place.is === "block") {
    const frames = await readBlockOf(log, place);
    if (frames !== undefined) return frames;
  } else {
    const { entry } = place;
    if (entry.frame !== undefined) return [entry.frame];
    const found = readFrame(await entry.segment.read(entry.at, entryBytes(entry)), 0);
    if (found.is === "good" && found.frame.attempt === log.attempt) {
      if (log.readers > 1) source.recent.put(entry, found.frame);
      return [found.frame];
    }
  }
  source.log.warn({ attempt: log.attempt }, "stored log is damaged; readers see a gap");
  return [];
}

/** A part's file goes away when its log is archived or the quota removes it; then the log says where to look now. */
async function readBlockOf(
  log: FileLog,
  place: Place & { is: "block" },
): Promise<readonly Frame[] | undefined> {
  try {
    return await readBlock(place.part, place.block);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    const now = log.next(place.block.firstNumber - 1);
    if (now?.is !== "block") return []; // The quota removed it, or it has expired.
    return now.part.path === place.part.path ? [] : readBlockOf(log, now);
  }
}

async function findOrWait(
  source: ReadSource,
  attempt: AttemptId,
  { follow, signal }: ReadOptions,
): Promise<FileLog | undefined> {
  for (;;) {
    // Asked for before looking, so that nothing that happens meanwhile is missed.
    const stop = new AbortController();
    const changed = source.change(attempt, AbortSignal.any([signal, stop.signal]));
    source.assertOpen();
    const log = await source.find(attempt);
    if (log !== undefined || !follow || signal.aborted) {
      stop.abort();
      await changed;
      return log;
    }
    await changed;
  }
}

/** Where a reader is, and what it has to be told next. */
class Cursor {
  number: number;
  /** The last batch that was read; what was skipped since may have gone by the quota while it was looked for. */
  #read: number;
  readonly #log: FileLog;
  readonly #stream: LogStream | undefined;
  #last: Sequences;
  /** Bytes of each stream up to here; undefined until a batch has said so. */
  #bytes: Sequences | undefined;

  constructor(
    log: FileLog,
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

  /** Goes on behind a place, whether or not it could be read. */
  skipTo(place: Place): void {
    const number = place.is === "entry" ? place.entry.number : place.block.lastNumber;
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
