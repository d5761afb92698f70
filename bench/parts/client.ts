import { once } from "node:events";
import { credentials } from "@grpc/grpc-js";
import { AgentServiceClient, type LogsResponse } from "#rpc/gen/hodei/v1/agent_service.ts";
import { JobSpec } from "#rpc/gen/hodei/v1/job.ts";
import { JobServiceClient } from "#rpc/gen/hodei/v1/job_service.ts";
import {
  LogBatch,
  LogStream,
  LogStreamServiceClient,
  type StreamLogsResponse,
} from "#rpc/gen/hodei/v1/log_service.ts";
import { windows } from "#rpc/windows.ts";
import { batchOf } from "./push.ts";
import { spin, type Load, type LoadResult } from "./spin.ts";

/** The client's side of the raw server, in plain grpc-js. */
export const calls = { unary, upload, follow, followed, records };

const open = new Map<string, JobServiceClient>();
let following: { bytes: number; close(): void } | undefined;
const waiters = new Set<() => void>();

/** Unary submits, so many in flight, over one connection. */
async function unary(
  load: Load & { readonly address: string; readonly specBytes: number },
): Promise<LoadResult> {
  const client =
    open.get(load.address) ?? new JobServiceClient(load.address, credentials.createInsecure());
  open.set(load.address, client);
  const spec = specOf(load.specBytes);
  return spin(
    load,
    () =>
      new Promise<void>((resolve, reject) => {
        client.submitJob({ spec, idempotencyKey: "", tenant: "" }, (error) =>
          error === null ? resolve() : reject(error),
        );
      }),
  );
}

/** A spec that takes about so many bytes when encoded. */
function specOf(bytes: number): JobSpec {
  return {
    ...JobSpec.decode(new Uint8Array()),
    command: ["true"],
    env: { PAYLOAD: "x".repeat(Math.max(bytes - 30, 1)) },
  };
}

/** Uploads log batches of one record for a time, and gives bytes per second up to the answer. */
async function upload(load: {
  readonly address: string;
  readonly batchBytes: number;
  readonly ms: number;
}): Promise<number> {
  const client = new AgentServiceClient(load.address, credentials.createInsecure(), {
    "grpc-node.flow_control_window": windows.streamBytes,
  });
  const call = client.logs();
  const data = Buffer.alloc(load.batchBytes, "x");
  const answered = once(call, "data") as Promise<[LogsResponse]>;
  const startedAt = performance.now();
  const until = startedAt + load.ms;
  let bytes = 0;
  for (let number = 1; performance.now() < until; number++) {
    bytes += load.batchBytes;
    const batch = batchOf({ records: 1, recordBytes: load.batchBytes }, number, data);
    const request = { attemptId: "a", jobId: "j", batchNumber: number, batch };
    if (!call.write(request)) await once(call, "drain");
  }
  call.end();
  await answered;
  const seconds = (performance.now() - startedAt) / 1000;
  client.close();
  return bytes / seconds;
}

/** Records one by one as messages in batches, encoded for each batch; gives records per second. */
async function records(load: {
  readonly address: string;
  readonly inBatch: number;
  readonly ms: number;
}): Promise<number> {
  const client = new AgentServiceClient(load.address, credentials.createInsecure());
  const call = client.logs();
  const answered = once(call, "data");
  const data = Buffer.alloc(100, "x");
  const startedAt = performance.now();
  const until = startedAt + load.ms;
  let count = 0;
  for (let number = 1; performance.now() < until; number++) {
    const chunks = Array.from({ length: load.inBatch }, () => ({
      stream: LogStream.LOG_STREAM_STDOUT,
      firstSequence: ++count,
      timeMicros: 1_700_000_000_000_000 + count,
      timeOffsets: [],
      lengths: [],
      data,
      gap: undefined,
    }));
    const batch = Buffer.from(LogBatch.encode({ chunks }).finish());
    const request = { attemptId: "a", jobId: "j", batchNumber: number, batch };
    if (!call.write(request)) await once(call, "drain");
  }
  call.end();
  await answered;
  const seconds = (performance.now() - startedAt) / 1000;
  client.close();
  return count / seconds;
}

/** So many followers over one connection, with the windows that grpc-js has by itself; they only count. */
async function follow(load: {
  readonly address: string;
  readonly followers: number;
}): Promise<void> {
  const client = new LogStreamServiceClient(load.address, credentials.createInsecure());
  following = { bytes: 0, close: () => client.close() };
  const own = following;
  for (let count = 0; count < load.followers; count++) {
    const call = client.streamLogs({
      jobId: "j",
      cursor: undefined,
      follow: true,
      tailLines: 0,
      stream: 0,
      attempt: 0,
    });
    call.on("data", (response: StreamLogsResponse) => {
      for (const chunk of response.batch?.chunks ?? []) own.bytes += chunk.data.length;
      for (const waiter of waiters) waiter();
    });
    call.on("error", () => undefined);
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
}

/** Resolves once the followers have so many bytes together, and ends them. */
async function followed(least: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const look = (): void => {
      if ((following?.bytes ?? 0) < least) return;
      waiters.delete(look);
      resolve();
    };
    waiters.add(look);
    look();
  });
  following?.close();
  following = undefined;
}
