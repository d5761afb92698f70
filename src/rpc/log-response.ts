import { StreamLogsResponse } from "./gen/hodei/v1/log_service.ts";
import type { Sequences } from "#log/record.ts";
import { varintSize, writeVarint } from "#log/wire.ts";

/** A part of a log whose batch is already encoded, exactly as the agent sent it. */
export interface StoredPart {
  readonly attempt: number;
  readonly attemptId: string;
  /** Encoded `hodei.v1.LogBatch`. */
  readonly batch: Uint8Array;
  /** The cursor after it. */
  readonly last: Sequences;
}

/** Whether a part holds its batch as bytes. */
export function isStoredPart(part: StoredPart | StreamLogsResponse): part is StoredPart {
  return part.batch instanceof Uint8Array;
}

/** The bytes of a `hodei.v1.StreamLogsResponse`. Those of a stored batch are only copied (DESIGN §8). */
export function encodeLogResponse(part: StoredPart | StreamLogsResponse): Buffer {
  if (!isStoredPart(part)) return Buffer.from(StreamLogsResponse.encode(part).finish());
  const { attempt, attemptId, batch } = part;
  const cursor = [attempt, part.last.stdout, part.last.stderr, part.last.system];
  const cursorSize = cursor.reduce((sum, value) => sum + 1 + varintSize(value), 0);
  const size =
    1 +
    varintSize(attempt) +
    2 +
    attemptId.length +
    1 +
    varintSize(batch.length) +
    batch.length +
    2 +
    cursorSize;
  const bytes = Buffer.allocUnsafe(size);
  let at = writeVarint(bytes, tag(bytes, 0, 0x08), attempt);
  at = writeVarint(bytes, tag(bytes, at, 0x12), attemptId.length);
  at += bytes.write(attemptId, at, "latin1");
  at = writeVarint(bytes, tag(bytes, at, 0x1a), batch.length);
  bytes.set(batch, at);
  at = writeVarint(bytes, tag(bytes, at + batch.length, 0x22), cursorSize);
  cursor.forEach((value, index) => {
    at = writeVarint(bytes, tag(bytes, at, (index + 1) << 3), value);
  });
  return bytes;
}

function tag(bytes: Buffer, at: number, value: number): number {
  bytes[at] = value;
  return at + 1;
}
