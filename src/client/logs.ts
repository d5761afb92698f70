import { logStreams, type GapReason, type LogCursor, type LogStream } from "#log/record.ts";
import {
  type LogChunk,
  type LogStream as WireStream,
  LogStreamServiceService,
  type StreamLogsRequest,
  type StreamLogsResponse,
} from "#rpc/gen/hodei/v1/log_service.ts";
import type { CallOptions, Channel } from "./channel.ts";

export interface LogsOptions extends CallOptions {
  /** Wait for what comes, until the log ends. */
  readonly follow?: boolean | undefined;
  /** Only the last so many lines of what is there; 0: none of it. */
  readonly tail?: number | undefined;
  /** Go on behind this place, as a record gave it. */
  readonly cursor?: LogCursor | undefined;
  /** Only this stream. */
  readonly stream?: LogStream | undefined;
  /** Only this attempt. */
  readonly attempt?: number | undefined;
}

/** One line of output, or a part of a long one; or a gap in its place. */
export interface LogRecord {
  /** Number of the attempt. */
  readonly attempt: number;
  readonly stream: LogStream;
  /** Counts from 1 for each attempt and stream. */
  readonly sequence: number;
  /** When it was read. */
  readonly time: Date;
  /** The bytes as they were written, with the line feed. */
  readonly data: Uint8Array;
  /** Records that are missing from here on; then there is no data. */
  readonly gap?: LogRecordGap;
  /** The place behind it, to go on from. */
  readonly cursor: LogCursor;
}

/** Zero: not known how many. */
export interface LogRecordGap {
  readonly records: number;
  readonly bytes: number;
  readonly reason: GapReason | "unknown";
}

const gapReasons: readonly GapReason[] = ["quota", "lost", "expired", "corrupt"];
const noBytes = new Uint8Array(0);

interface Place extends LogCursor {
  attempt: number;
  stdout: number;
  stderr: number;
  system: number;
}

/** The records of a job's log from a place on, each once, across reconnects. */
export async function* readLogs(
  channel: Channel,
  jobId: string,
  options: LogsOptions,
): AsyncGenerator<LogRecord, void, undefined> {
  const place: Place = { attempt: 0, stdout: 0, stderr: 0, system: 0, ...options.cursor };
  let hasBegun = options.cursor !== undefined;
  let hasEnded = false;
  const responses = channel.read(LogStreamServiceService.streamLogs, {
    signal: options.signal,
    next: () => requestOf(jobId, options, hasBegun ? place : undefined),
    isComplete: () => hasEnded || options.follow !== true,
  });
  for await (const response of responses) {
    yield* recordsOf(response, place, options);
    // What the server skipped, of other streams, need not be looked at again.
    if (response.cursor !== undefined) Object.assign(place, response.cursor);
    hasBegun = true;
    hasEnded = response.end;
  }
}

function requestOf(
  jobId: string,
  options: LogsOptions,
  cursor: LogCursor | undefined,
): StreamLogsRequest {
  const { stream, tail } = options;
  return {
    jobId,
    cursor: cursor && { ...cursor },
    follow: options.follow ?? false,
    tailLines: cursor !== undefined || tail === undefined ? 0 : tail === 0 ? -1 : tail,
    stream: (stream === undefined ? 0 : logStreams.indexOf(stream) + 1) as WireStream,
    attempt: options.attempt ?? 0,
  };
}

function* recordsOf(
  response: StreamLogsResponse,
  place: Place,
  options: LogsOptions,
): Generator<LogRecord, void, undefined> {
  if (response.attempt < place.attempt) return;
  if (response.attempt > place.attempt) {
    Object.assign(place, { attempt: response.attempt, stdout: 0, stderr: 0, system: 0 });
  }
  for (const chunk of response.batch?.chunks ?? []) {
    const stream = logStreams[chunk.stream - 1];
    if (stream === undefined || (options.stream ?? stream) !== stream) continue;
    yield* recordsOfChunk(chunk, stream, place);
  }
}

function* recordsOfChunk(
  chunk: LogChunk,
  stream: LogStream,
  place: Place,
): Generator<LogRecord, void, undefined> {
  const { attempt } = place;
  let sequence = chunk.firstSequence;
  if (chunk.gap !== undefined) {
    const { records, bytes, reason } = chunk.gap;
    const last = sequence + Math.max(1, records) - 1;
    if (last <= place[stream]) return;
    place[stream] = last;
    yield {
      attempt,
      stream,
      sequence,
      time: new Date(chunk.timeMicros / 1000),
      data: noBytes,
      gap: { records, bytes, reason: gapReasons[reason - 1] ?? "unknown" },
      cursor: { ...place },
    };
    return;
  }
  let at = 0;
  for (const [index, length] of chunk.lengths.entries()) {
    if (sequence > place[stream]) {
      place[stream] = sequence;
      const micros = chunk.timeMicros + (chunk.timeOffsets[index] ?? 0);
      const data = chunk.data.subarray(at, at + length);
      const time = new Date(micros / 1000);
      yield { attempt, stream, sequence, time, data, cursor: { ...place } };
    }
    at += length;
    sequence++;
  }
}
