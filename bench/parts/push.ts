import { once } from "node:events";
import type { ClientDuplexStream } from "@grpc/grpc-js";
import type { LogsRequest, LogsResponse } from "#rpc/gen/hodei/v1/agent_service.ts";
import { encodeBatch } from "#log/batch.ts";

export type LogCall = ClientDuplexStream<LogsRequest, LogsResponse>;

export interface LogLoad {
  readonly ms: number;
  /** Records of each batch and bytes of each record. */
  readonly records: number;
  readonly recordBytes: number;
  /** Stops after so many bytes in all, so that a quota is not reached. */
  readonly maxBytes?: number;
}

export interface LogResult {
  readonly bytes: number;
  readonly bytesPerSecond: number;
  readonly recordsPerSecond: number;
}

interface Place {
  batch: number;
  sequence: number;
}

const places = new Map<string, Place>();

/** Number of the last batch that was sent for an attempt. */
export function lastBatchOf(attemptId: string): number {
  return places.get(attemptId)?.batch ?? 0;
}

/** Sends log batches of an attempt against the server's credits, going on where the last call ended; the time ends with the last acknowledgement. */
export async function pushLogs(
  call: LogCall,
  attempt: { readonly attemptId: string; readonly jobId: string },
  load: LogLoad,
): Promise<LogResult> {
  const { attemptId, jobId } = attempt;
  const place = places.get(attemptId) ?? { batch: 0, sequence: 0 };
  places.set(attemptId, place);
  const credit = openCredit(call);
  const data = Buffer.alloc(load.records * load.recordBytes, "x");
  const bytesMost = load.maxBytes ?? Infinity;
  const startedAt = performance.now();
  let batches = 0;
  while (performance.now() - startedAt < load.ms && batches * data.length < bytesMost) {
    const batch = batchOf(load, place.sequence + 1, data);
    if (!credit.take(batch.length)) await credit.wait(batch.length);
    place.sequence += load.records;
    batches++;
    const request: LogsRequest = { attemptId, jobId, batchNumber: ++place.batch, batch };
    if (!call.write(request)) await once(call, "drain");
  }
  await credit.acked(place.batch);
  const seconds = (performance.now() - startedAt) / 1000;
  call.end();
  return {
    bytes: batches * data.length,
    bytesPerSecond: (batches * data.length) / seconds,
    recordsPerSecond: (batches * load.records) / seconds,
  };
}

/** One batch, encoded as the agent does it. */
export function batchOf(
  load: Pick<LogLoad, "records" | "recordBytes">,
  firstSequence: number,
  data: Buffer,
): Buffer {
  const bytes = encodeBatch([
    {
      stream: "stdout",
      firstSequence,
      timeMicros: Date.now() * 1000,
      timeOffsets: [],
      lengths: Array.from({ length: load.records }, () => load.recordBytes),
      data,
      gap: undefined,
    },
  ]);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

interface Credit {
  take(bytes: number): boolean;
  wait(bytes: number): Promise<void>;
  acked(batch: number): Promise<void>;
}

/** The bytes that may still be sent on a stream, and what is durable of it. */
function openCredit(call: LogCall): Credit {
  let left = 0;
  let durable = 0;
  let wake: (() => void) | undefined;
  let failure: Error | undefined;
  call.on("data", (response: LogsResponse) => {
    left += response.creditBytes;
    for (const ack of response.acks) {
      if (ack.fenced) failure = new Error("fenced");
      durable = Math.max(durable, ack.batchNumber);
    }
    wake?.();
  });
  call.on("error", (error) => {
    failure = error;
    wake?.();
  });
  const until = async (isTrue: () => boolean): Promise<void> => {
    while (!isTrue()) {
      if (failure !== undefined) throw failure;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
  const take = (bytes: number): boolean => {
    // A call that is over takes everything and never drains.
    if (failure !== undefined) throw failure;
    if (left < bytes) return false;
    left -= bytes;
    return true;
  };
  return {
    take,
    wait: (bytes) => until(() => take(bytes)),
    acked: (batch) => until(() => durable >= batch),
  };
}
