import type { AttemptId } from "#job/id.ts";
import type { GapReason, LogStream, Sequences } from "#log/record.ts";

/**
 * Where log records live. A log belongs to one attempt. What is written is the encoded `hodei.v1.LogBatch` that the agent sent: it is
 * checked, never re-encoded. One process owns a store of local files; any number share one in Redis.
 */
export interface LogStore extends AsyncDisposable {
  /**
   * Adds the next batch of an attempt, which opens its log when it is the first. Resolves once the batch is durable (DESIGN G17).
   * A batch that is already there resolves without change; one that leaves a hole is refused with `failed_precondition`, one whose bytes are not
   * a LogBatch with consecutive records with `invalid_argument`, one for a log that has ended with `aborted`.
   * Beyond the quota only the tail is kept, with a gap between head and tail (DESIGN G21).
   * Error: `resource_exhausted` when the disk is full; nothing of the batch is kept then and it may be sent again.
   */
  append(attempt: AttemptId, batch: NewBatch): Promise<void>;

  /** What is durable of an attempt; undefined when it has no log (any more). */
  findLog(attempt: AttemptId): Promise<LogState | undefined>;

  /**
   * Ends a log: nothing can be added, followers end, `expiresAt` is stored with it (DESIGN G20). An attempt without a log gets an empty one.
   * With `missing`, a gap behind the last record says that more was written and is lost (DESIGN G22). Ending twice is fine; the first expiry stays.
   */
  end(attempt: AttemptId, end: LogEnd): Promise<void>;

  /**
   * Reads from a cursor on, in order, each record once (DESIGN G18). With `follow` it waits for what comes and finishes when the log ends or
   * `signal` aborts; without, it finishes at what is durable now. A slow reader holds nothing back and costs a bounded buffer.
   * An unknown log reads as empty, and is waited for with `follow`.
   */
  read(attempt: AttemptId, options: ReadOptions): AsyncIterable<StoredBatch>;

  /** Deletes logs whose time has come, never early; resolves to how many. Called at most every few minutes. */
  expire(now: number): Promise<number>;

  /** What it holds, for metrics and readiness. */
  stats(): LogStoreStats;
}

export interface NewBatch {
  /** Counts from 1 for each attempt, without holes. */
  readonly number: number;
  /** Encoded `hodei.v1.LogBatch`. Must not be changed afterwards. */
  readonly bytes: Uint8Array;
  /** Whose log it is, for a quota per tenant. */
  readonly tenant?: string;
  /** Called with the bytes, at most once and before `append` resolves, when neither the store nor a reader will look at them again. */
  readonly release?: (bytes: Uint8Array) => void;
}

export interface LogState {
  /** Number of the newest durable batch. */
  readonly batch: number;
  /** Last durable record of each stream. */
  readonly last: Sequences;
  readonly bytes: number;
  readonly hasEnded: boolean;
  readonly expiresAt: number | undefined;
}

export interface LogEnd {
  readonly expiresAt: number;
  readonly missing?: GapReason;
}

export interface ReadOptions {
  /** Only records after these. */
  readonly after: Sequences;
  readonly follow: boolean;
  /** Only this stream. */
  readonly stream?: LogStream;
  /** Instead of `after`: the last so many lines of what is there; 0: none. */
  readonly tailLines?: number;
  readonly signal: AbortSignal;
}

export interface StoredBatch {
  /** Encoded `hodei.v1.LogBatch`; shared between readers, so it must not be changed. */
  readonly bytes: Uint8Array;
  /** Last record of each stream up to and with this batch: the cursor after it. */
  readonly last: Sequences;
}

export interface LogStoreStats {
  readonly openLogs: number;
  /** On the disk of this process, or in the server that replicas share. */
  readonly storedBytes: number;
  readonly isWritable: boolean;
  /** Where logs that have ended are archived elsewhere. */
  readonly archive?: LogArchiveStats;
}

export interface LogArchiveStats {
  readonly storedBytes: number;
  /** Of logs that have ended and are not there yet. */
  readonly waitingBytes: number;
  /** Whether it answered when it was last asked. */
  readonly isReachable: boolean;
}
