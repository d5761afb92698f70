export const logStreams = ["stdout", "stderr", "system"] as const;
export type LogStream = (typeof logStreams)[number];

export type GapReason = "quota" | "lost" | "expired" | "corrupt";

/** Consecutive records of one stream, or a gap in their place. The decoded form of `hodei.v1.LogChunk`. */
export interface LogChunk {
  readonly stream: LogStream;
  /** Number of the first record; counts from 1 for each attempt and stream. */
  readonly firstSequence: number;
  /** When the first record was read, in microseconds since 1970. */
  readonly timeMicros: number;
  /** Microseconds after `timeMicros` for each record; empty when all are zero. */
  readonly timeOffsets: readonly number[];
  /** Bytes of each record. */
  readonly lengths: readonly number[];
  readonly data: Uint8Array;
  readonly gap: LogGap | undefined;
}

/** Records that are missing. Zero: not known how many. */
export interface LogGap {
  readonly records: number;
  readonly bytes: number;
  readonly reason: GapReason;
}

/** The last record of each stream up to which something holds; zero: none. */
export interface Sequences {
  readonly stdout: number;
  readonly stderr: number;
  readonly system: number;
}

export const noSequences: Sequences = { stdout: 0, stderr: 0, system: 0 };

/** A place in a job's log: after these records of that attempt. */
export interface LogCursor extends Sequences {
  /** Number of the attempt, from 1; zero: before the first. */
  readonly attempt: number;
}

/** Bounds of one record and one batch. */
export const logLimits = {
  recordBytes: 64 * 1024,
  batchBytes: 128 * 1024,
  batchRecords: 16 * 1024,
} as const;
