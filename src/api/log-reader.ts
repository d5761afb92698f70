import type { Attempt, Job } from "#job/job.ts";
import { isFinal } from "#job/state.ts";
import { encodeBatch, gapChunk } from "#log/batch.ts";
import { type LogCursor, type LogStream, noSequences, type Sequences } from "#log/record.ts";
import type { LogStore } from "#logstore/logstore.ts";
import type { StoredPart } from "#rpc/log-response.ts";
import type { Scheduler } from "#scheduler/scheduler.ts";
import type { JobStore } from "#store/store.ts";

export interface LogReaderOptions {
  readonly store: Pick<JobStore, "findJob">;
  readonly logs: Pick<LogStore, "read" | "findLog">;
  readonly scheduler: Pick<Scheduler, "watch">;
  /** How long a job's logs are kept, by its spec. */
  readonly logTtlMs: (job: Job) => number;
  readonly now: () => number;
}

export interface LogQuery {
  readonly cursor: LogCursor;
  readonly follow: boolean;
  /** Undefined: from the cursor on. */
  readonly tailLines: number | undefined;
  readonly stream: LogStream | undefined;
  /** Zero: all attempts, one after another. */
  readonly attempt: number;
  readonly signal: AbortSignal;
}

/** What a job's log looks like at its end, or now when it is not followed. */
export interface LogEnding {
  readonly cursor: LogCursor;
  readonly hasEnded: boolean;
  readonly expiresAt: number | undefined;
}

/**
 * A job's log across its attempts, from the first wanted one on; with `follow` it waits for the next attempt until the job is final. The batches are
 * those of the log store, untouched. Returns where it stopped.
 */
export async function* readJobLog(
  job: Job,
  query: LogQuery,
  options: LogReaderOptions,
): AsyncGenerator<StoredPart, LogEnding, undefined> {
  const start = await startOf(job, query, options);
  let cursor: LogCursor = start.cursor;
  let { tailLines } = start;
  let expiresAt: number | undefined;
  for await (const attempt of attemptsOf(job, { ...query, from: cursor.attempt }, options)) {
    if (attempt.number !== cursor.attempt) cursor = { ...noSequences, attempt: attempt.number };
    const read = { ...query, job, tailLines, after: cursor };
    for await (const part of readAttempt(attempt, read, options)) {
      cursor = { ...part.last, attempt: attempt.number };
      yield part;
    }
    expiresAt = (await options.logs.findLog(attempt.id))?.expiresAt ?? expiresAt;
    tailLines = undefined;
  }
  const now = (await options.store.findJob(job.id)) ?? job;
  const isOver = isFinal(now.state) || now.attempts[query.attempt - 1]?.state === "ended";
  return { cursor, hasEnded: isOver && !query.signal.aborted, expiresAt };
}

/** The place to begin at. A tail begins with the newest attempt that has written something. */
async function startOf(
  job: Job,
  query: LogQuery,
  options: LogReaderOptions,
): Promise<{ readonly cursor: LogCursor; readonly tailLines: number | undefined }> {
  const { tailLines } = query;
  const wanted = query.attempt || query.cursor.attempt || 1;
  if (tailLines === undefined) {
    const isThere = query.cursor.attempt === wanted || query.cursor.attempt === 0;
    const after = isThere ? query.cursor : noSequences;
    return { cursor: { ...after, attempt: wanted }, tailLines };
  }
  if (query.attempt > 0) return { cursor: { ...noSequences, attempt: wanted }, tailLines };
  for (const attempt of job.attempts.toReversed()) {
    const log = await options.logs.findLog(attempt.id);
    if (log !== undefined && log.batch > 0) {
      return { cursor: { ...noSequences, attempt: attempt.number }, tailLines };
    }
  }
  const attempt = job.attempts.at(-1)?.number ?? 1;
  return { cursor: { ...noSequences, attempt }, tailLines };
}

/** The attempts from one on, in order; with `follow` as they come, until the job is final. */
async function* attemptsOf(
  found: Job,
  query: LogQuery & { readonly from: number },
  options: LogReaderOptions,
): AsyncGenerator<Attempt, void, undefined> {
  let job = found;
  for (let number = query.from; query.attempt === 0 || number === query.attempt;) {
    const attempt = job.attempts[number - 1];
    if (attempt !== undefined) {
      yield attempt;
      number++;
    } else {
      const isEnough = isFinal(job.state) || !query.follow || query.signal.aborted;
      if (isEnough) return;
      job = await waitForAttempt(job, number, { ...options, signal: query.signal });
    }
  }
}

/** The job once it has that many attempts or is final, or the wait was aborted. */
async function waitForAttempt(
  job: Job,
  number: number,
  options: LogReaderOptions & { readonly signal: AbortSignal },
): Promise<Job> {
  const { store, scheduler, signal } = options;
  for await (const event of scheduler.watch.follow(job.id, 0, signal)) {
    if (event.attempt < number && !isFinal(event.state)) continue;
    const now = await store.findJob(job.id);
    if (now !== undefined && (now.attempts.length >= number || isFinal(now.state))) return now;
  }
  return (await store.findJob(job.id)) ?? { ...job, state: "failed" };
}

interface AttemptRead {
  readonly job: Job;
  readonly after: Sequences;
  readonly tailLines: number | undefined;
  readonly stream: LogStream | undefined;
  readonly follow: boolean;
  readonly signal: AbortSignal;
}

async function* readAttempt(
  attempt: Attempt,
  read: AttemptRead,
  options: LogReaderOptions,
): AsyncGenerator<StoredPart, void, undefined> {
  const part = { attempt: attempt.number, attemptId: attempt.id };
  const isOver = attempt.state === "ended";
  if (isOver && (await options.logs.findLog(attempt.id)) === undefined) {
    // Without a log it had none, or had one that is gone.
    const goneAt = (attempt.endedAt ?? Infinity) + options.logTtlMs(read.job);
    if (goneAt > options.now()) return;
    const stream = read.stream ?? "system";
    const sequence = read.after[stream] + 1;
    const gap = gapChunk(stream, sequence, { records: 0, bytes: 0, reason: "expired" });
    yield { ...part, batch: encodeBatch([gap]), last: { ...read.after, [stream]: sequence } };
    return;
  }
  const { after, tailLines, stream } = read;
  const follows = read.follow && !isOver;
  const stop = new AbortController();
  const signal = AbortSignal.any([read.signal, stop.signal]);
  const watching = follows
    ? stopWhenWithoutLog(attempt, { ...read, signal, stop }, options)
    : undefined;
  try {
    const batches = options.logs.read(attempt.id, {
      after,
      follow: follows,
      signal,
      ...(stream === undefined ? {} : { stream }),
      ...(tailLines === undefined ? {} : { tailLines }),
    });
    for await (const { bytes, last } of batches) yield { ...part, batch: bytes, last };
  } finally {
    stop.abort();
    await watching;
  }
}

/** A log that is there ends by itself, before its attempt does (DESIGN G22); one that an ended attempt does not have would be waited for in vain. */
async function stopWhenWithoutLog(
  attempt: Attempt,
  read: AttemptRead & { readonly stop: AbortController },
  options: LogReaderOptions,
): Promise<void> {
  const { store, scheduler, logs } = options;
  try {
    for await (const event of scheduler.watch.follow(read.job.id, 0, read.signal)) {
      if (event.attempt < attempt.number) continue;
      const now = await store.findJob(read.job.id);
      if (now === undefined || now.attempts[attempt.number - 1]?.state === "ended") break;
    }
    // Here the attempt is over, or the whole history is, of which the part about this attempt may be gone.
    if ((await logs.findLog(attempt.id)) === undefined) read.stop.abort();
  } catch {
    // The reader itself meets whatever keeps the store from answering.
    read.stop.abort();
  }
}
