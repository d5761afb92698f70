import type { AttemptId } from "#job/id.ts";
import { Cursor } from "#logstore/frames/cursor.ts";
import { readFrame, type Frame } from "#logstore/frames/frame.ts";
import { tailStart } from "#logstore/frames/tail.ts";
import type { ReadOptions, StoredBatch } from "#logstore/logstore.ts";
import type { RecentFrames } from "./cache.ts";
import { errorCode, type WarningLog } from "./disk.ts";
import type { FileLog, Place } from "./log.ts";
import { entryBytes, readBlock } from "./part.ts";

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
        : await tailStart(log.durable, framesBackwards(source, log), {
            lines: options.tailLines,
            stream: options.stream,
          });
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
        if (place.is === "entry" || log.parts.includes(place.part)) cursor.skipTo(lastOf(place));
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

async function* framesBackwards(
  source: ReadSource,
  log: FileLog,
): AsyncGenerator<readonly Frame[]> {
  for (const place of placesBackwards(log)) yield await framesAt(source, log, place);
}

function* placesBackwards(log: FileLog): Generator<Place> {
  const parts = [...log.parts];
  for (const entry of log.entries.toReversed()) yield { is: "entry", entry };
  for (const part of parts.toReversed()) {
    for (const block of part.blocks.toReversed()) yield { is: "block", part, block };
  }
}

function lastOf(place: Place): number {
  return place.is === "entry" ? place.entry.number : place.block.lastNumber;
}
