import { decodeBatch, encodeBatch } from "#log/batch.ts";
import { type LogCursor, noSequences } from "#log/record.ts";
import {
  type GetLogsResponse,
  LogBatch,
  type StreamLogsResponse,
} from "#rpc/gen/hodei/v1/log_service.ts";
import type { StoredPart } from "#rpc/log-response.ts";
import type { LogEnding } from "./log-reader.ts";

/** Most and usual bytes of records in one page. */
export const pageBytes = 512 * 1024;

/** The first page of a log's parts: at most `maxBytes` of records, but at least one record. */
export async function readPage(
  given: AsyncGenerator<StoredPart, LogEnding, undefined>,
  from: LogCursor,
  maxBytes: number,
): Promise<GetLogsResponse> {
  await using parts = given;
  const page: StreamLogsResponse[] = [];
  let cursor = from;
  let room = maxBytes;
  for (;;) {
    const next = await parts.next();
    if (next.done === true) {
      const { cursor: end, hasEnded } = next.value;
      return { parts: page, cursor: end, hasMore: false, end: hasEnded };
    }
    const cut = cutPart(next.value, cursor, { room, isFirst: page.length === 0 });
    if (cut.part !== undefined) {
      page.push(partToWire(cut.part));
      cursor = { ...cut.part.last, attempt: cut.part.attempt };
    }
    room -= cut.bytes;
    if (cut.isCut) return { parts: page, cursor, hasMore: true, end: false };
  }
}

function partToWire(part: StoredPart): StreamLogsResponse {
  return {
    attempt: part.attempt,
    attemptId: part.attemptId,
    batch: LogBatch.decode(part.batch),
    cursor: { ...part.last, attempt: part.attempt },
    end: false,
    expiresAt: undefined,
  };
}

interface Cut {
  readonly part: StoredPart | undefined;
  readonly bytes: number;
  readonly isCut: boolean;
}

/** As many records of a part as there is room for; at least one when it is the first of its page. */
function cutPart(
  part: StoredPart,
  before: LogCursor,
  { room, isFirst }: { readonly room: number; readonly isFirst: boolean },
): Cut {
  const start = before.attempt === part.attempt ? before : noSequences;
  const last = { stdout: start.stdout, stderr: start.stderr, system: start.system };
  const kept: ReturnType<typeof decodeBatch> = [];
  let bytes = 0;
  for (const chunk of decodeBatch(part.batch)) {
    let records = 0;
    let size = 0;
    for (const length of chunk.lengths) {
      const isNeeded = isFirst && kept.length === 0 && records === 0;
      if (bytes + size + length > room && !isNeeded) break;
      size += length;
      records++;
    }
    const isWhole = records === chunk.lengths.length;
    if (records > 0 || chunk.gap !== undefined) {
      const lengths = chunk.lengths.slice(0, records);
      const timeOffsets = chunk.timeOffsets.slice(0, records);
      kept.push({ ...chunk, lengths, timeOffsets, data: chunk.data.subarray(0, size) });
      const span = chunk.gap === undefined ? records : Math.max(1, chunk.gap.records);
      last[chunk.stream] = chunk.firstSequence + span - 1;
      bytes += size;
    }
    if (!isWhole) {
      const cut = kept.length === 0 ? undefined : { ...part, batch: encodeBatch(kept), last };
      return { part: cut, bytes, isCut: true };
    }
  }
  return { part, bytes, isCut: false };
}
