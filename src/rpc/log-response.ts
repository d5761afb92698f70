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

/** Batches that are encoded for one follower and soon wanted by the next. */
const sharedResponses = 32;
/** A small one is encoded faster than found. */
const worthSharing = 4 * 1024;

/** `encodeLogResponse` for many followers of a log: those who are at the same place get the same bytes. */
export function createLogResponseEncoder(): typeof encodeLogResponse {
  const recent: { readonly part: StoredPart; readonly bytes: Buffer }[] = [];
  let next = 0;
  return (part) => {
    if (!isStoredPart(part) || part.batch.length < worthSharing) return encodeLogResponse(part);
    const known = recent.find((one) => isSamePart(one.part, part));
    if (known !== undefined) return known.bytes;
    const bytes = encodeLogResponse(part);
    recent[next] = { part, bytes };
    next = (next + 1) % sharedResponses;
    return bytes;
  };
}

function isSamePart(left: StoredPart, right: StoredPart): boolean {
  return (
    left.batch === right.batch &&
    left.attemptId === right.attemptId &&
    left.attempt === right.attempt &&
    left.last.stdout === right.last.stdout &&
    left.last.stderr === right.last.stderr &&
    left.last.system === right.last.system
  );
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
