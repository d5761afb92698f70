import type { LogsRequest } from "./gen/hodei/v1/agent_service.ts";
import { WireReader } from "#log/wire.ts";

/** Batches that are the only use of their memory. */
const sole = new WeakSet<Uint8Array>();

/** Less is not worth the call. */
const worthReleasing = 16 * 1024;
/** grpc-js gives every message its own memory, behind a prefix of so many bytes. */
const prefixBytes = 5;

/** The `hodei.v1.LogsRequest` in these bytes. Its batch is a view of them, where the generated codec would copy (DESIGN §8). */
export function decodeLogsRequest(bytes: Buffer): LogsRequest {
  const reader = new WireReader(bytes);
  const request = { attemptId: "", jobId: "", batchNumber: 0, batch: bytes.subarray(0, 0) };
  const text = (): string => {
    const end = reader.block();
    const value = bytes.toString("utf8", reader.at, end);
    reader.at = end;
    return value;
  };
  while (reader.at < reader.end) {
    const tag = reader.varint();
    if (tag === 10) request.attemptId = text();
    else if (tag === 18) request.jobId = text();
    else if (tag === 24) request.batchNumber = reader.varint();
    else if (tag === 34) {
      const end = reader.block();
      request.batch = bytes.subarray(reader.at, end);
      reader.at = end;
    } else reader.skip(tag);
  }
  const { batch } = request;
  const isAlone = bytes.buffer.byteLength === prefixBytes + bytes.length;
  if (isAlone && batch.length >= worthReleasing) sole.add(batch);
  return request;
}

/**
 * Gives back the memory of a batch that nobody needs any more, which is empty then. Left to the garbage collector, the memory of a fast upload sets off full
 * collections, and they cost more than all the rest of it. Does nothing to a batch that shares its memory.
 */
export function releaseBatch(batch: Uint8Array): void {
  if (sole.delete(batch) && batch.buffer instanceof ArrayBuffer) batch.buffer.transfer(0);
}
