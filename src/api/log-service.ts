import { invalid } from "#error.ts";
import { type LogCursor, type LogStream, logStreams } from "#log/record.ts";
import type {
  LogCursor as WireCursor,
  LogStream as WireStream,
} from "#rpc/gen/hodei/v1/log_service.ts";
import {
  type LogStreamServiceService,
  type StreamLogsResponse,
} from "#rpc/gen/hodei/v1/log_service.ts";
import type { StoredPart } from "#rpc/log-response.ts";
import type { Handlers } from "#rpc/serve.ts";
import { dateOf } from "#rpc/time.ts";
import type { Caller } from "./authenticate.ts";
import type { Gate } from "./gate.ts";
import { pageBytes, readPage } from "./log-page.ts";
import { getOwnJob } from "./job-service.ts";
import { type LogQuery, readJobLog, type LogReaderOptions } from "./log-reader.ts";

/** StreamLogs answers stored batches as they are; their encoder is `encodeLogResponse`. */
export type LogHandlers = Handlers<
  Omit<typeof LogStreamServiceService, "streamLogs"> & { streamLogs: StreamLogsMethod },
  Caller
>;

type StreamLogsMethod = Omit<
  (typeof LogStreamServiceService)["streamLogs"],
  "responseSerialize"
> & {
  readonly responseSerialize: (part: StoredPart | StreamLogsResponse) => Buffer;
};

/** Reads the logs of jobs. */
export function logService(options: LogReaderOptions & { readonly follows: Gate }): LogHandlers {
  return {
    async streamLogs(request, call, write) {
      const job = await getOwnJob(options.store, request.jobId, call.caller);
      const query: LogQuery = {
        cursor: cursorFromWire(request.cursor),
        follow: request.follow,
        tailLines: tailOf(request.tailLines),
        stream: streamFromWire(request.stream),
        attempt: attemptOf(request.attempt),
        signal: call.signal,
      };
      using _place = options.follows.enter();
      await using parts = readJobLog(job, query, options);
      let attemptId = "";
      for (;;) {
        const next = await parts.next();
        if (next.done !== true) {
          ({ attemptId } = next.value);
          await write(next.value);
          continue;
        }
        const { cursor, hasEnded, expiresAt } = next.value;
        await write({
          attempt: cursor.attempt,
          attemptId: attemptId || (job.attempts[cursor.attempt - 1]?.id ?? ""),
          batch: undefined,
          cursor,
          end: hasEnded,
          expiresAt: hasEnded ? dateOf(expiresAt) : undefined,
        });
        return;
      }
    },

    async getLogs(request, call) {
      const job = await getOwnJob(options.store, request.jobId, call.caller);
      const maxBytes = request.maxBytes === 0 ? pageBytes : request.maxBytes;
      if (maxBytes < 1 || maxBytes > pageBytes) {
        throw invalid("max_bytes", `has to be from 1 to ${pageBytes}`);
      }
      const query: LogQuery = {
        cursor: cursorFromWire(request.cursor),
        follow: false,
        tailLines: undefined,
        stream: streamFromWire(request.stream),
        attempt: attemptOf(request.attempt),
        signal: call.signal,
      };
      return readPage(readJobLog(job, query, options), query.cursor, maxBytes);
    },
  };
}

function cursorFromWire(cursor: WireCursor | undefined): LogCursor {
  const given = cursor ?? { attempt: 0, stdout: 0, stderr: 0, system: 0 };
  if (Object.values(given).some((value: number) => value < 0))
    throw invalid("cursor", "is negative");
  return given;
}

function tailOf(lines: number): number | undefined {
  if (lines < -1) throw invalid("tail_lines", "has to be -1 or more");
  return lines === 0 ? undefined : Math.max(0, lines);
}

function attemptOf(attempt: number): number {
  if (attempt < 0) throw invalid("attempt", "is negative");
  return attempt;
}

function streamFromWire(stream: WireStream): LogStream | undefined {
  if (stream === 0) return undefined;
  const known = logStreams[stream - 1];
  if (known === undefined) throw invalid("stream", "is unknown");
  return known;
}
