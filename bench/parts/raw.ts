import type { sendUnaryData, ServerDuplexStream, ServerWritableStream } from "@grpc/grpc-js";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { Redis } from "ioredis";
import {
  AgentServiceService,
  type LogsRequest,
  type LogsResponse,
} from "#rpc/gen/hodei/v1/agent_service.ts";
import { JobServiceService, type SubmitJobResponse } from "#rpc/gen/hodei/v1/job_service.ts";
import {
  LogBatch,
  LogStreamServiceService,
  type StreamLogsRequest,
  type StreamLogsResponse,
} from "#rpc/gen/hodei/v1/log_service.ts";
import { enlargeWindows, limitConnections } from "#rpc/windows.ts";

/** A server of plain grpc-js that answers the product's messages and does nothing else: what the product is measured against. */
export const calls = {
  /**
   * Starts it, and gives its address. `decodes`: also decodes the log batches that it throws away; `isWide`: with the product's windows; `redisPort`: adds
   * the batches to a stream there instead.
   */
  start,
  /** Bytes of batches that one follower was sent since the last call. */
  sent: () => {
    const bytes = sent;
    sent = 0;
    return bytes;
  },
  stop: () => server?.forceShutdown(),
};

let sent = 0;
const followers = new Set<ServerWritableStream<StreamLogsRequest, StreamLogsResponse>>();
let server: Server | undefined;
let decodes = false;
let redis: Redis | undefined;

async function start(
  options: {
    readonly decodes?: boolean;
    readonly isWide?: boolean;
    readonly redisPort?: number;
  } = {},
): Promise<string> {
  if (options.redisPort !== undefined) redis = new Redis({ port: options.redisPort });
  decodes = options.decodes ?? false;
  server = new Server({
    "grpc.max_receive_message_length": -1,
    "grpc.max_concurrent_streams": 10_000,
  });
  if (options.isWide) enlargeWindows(server);
  server.addService(JobServiceService, { submitJob });
  server.addService(AgentServiceService, { logs });
  server.addService(LogStreamServiceService, { streamLogs });
  const port = await new Promise<number>((resolve, reject) => {
    server?.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  if (options.isWide)
    limitConnections(server, { maxConnections: 10_000, prefaceTimeoutMs: 10_000 });
  return `127.0.0.1:${port}`;
}

function submitJob(_call: unknown, answer: sendUnaryData<SubmitJobResponse>): void {
  answer(null, { jobId: "01jd4r8xk2m5n7p9q1s3t5v7w9", version: 1, alreadyExisted: false });
}

/** Takes log batches, forwards them to whoever follows, and says at the end that it has them. */
function logs(call: ServerDuplexStream<LogsRequest, LogsResponse>): void {
  let last: LogsRequest | undefined;
  const adding = redis && new Adding(redis, call);
  call.on("data", (request: LogsRequest) => {
    last = request;
    if (adding !== undefined) {
      adding.add(request.batch);
      return;
    }
    if (followers.size > 0) forward(call, request);
    else if (decodes) LogBatch.decode(request.batch);
  });
  call.on("end", () => {
    const acks = [
      { attemptId: last?.attemptId ?? "", batchNumber: last?.batchNumber ?? 0, fenced: false },
    ];
    const answer = (): void => {
      call.write({ acks, creditBytes: 0 });
      call.end();
    };
    if (adding === undefined) answer();
    else adding.whenIdle(answer);
  });
  call.on("error", () => undefined);
}

/** Adds to a stream as fast as it takes it: every batch at once, and no more on the way than an agent has credit for. */
class Adding {
  readonly #redis: Redis;
  readonly #call: ServerDuplexStream<LogsRequest, LogsResponse>;
  #waitingBytes = 0;
  #onIdle: (() => void) | undefined;

  constructor(to: Redis, call: ServerDuplexStream<LogsRequest, LogsResponse>) {
    this.#redis = to;
    this.#call = call;
  }

  add(batch: Buffer): void {
    this.#waitingBytes += batch.length;
    if (this.#waitingBytes > mostWaitingBytes) this.#call.pause();
    this.#redis.xadd("log", "MAXLEN", "~", 1_000, "*", "b", batch).then(
      () => {
        this.#waitingBytes -= batch.length;
        if (this.#waitingBytes < mostWaitingBytes / 2) this.#call.resume();
        if (this.#waitingBytes === 0) this.#onIdle?.();
      },
      (error: unknown) => console.error(error),
    );
  }

  whenIdle(answer: () => void): void {
    this.#onIdle = answer;
    if (this.#waitingBytes === 0) answer();
  }
}

const mostWaitingBytes = 4 * 1024 * 1024;

/** The naive way: decode, then encode for each follower; the slowest one holds the sender back. */
function forward(call: ServerDuplexStream<LogsRequest, LogsResponse>, request: LogsRequest): void {
  const response: StreamLogsResponse = {
    attempt: 1,
    attemptId: request.attemptId,
    batch: LogBatch.decode(request.batch),
    cursor: { attempt: 1, stdout: request.batchNumber, stderr: 0, system: 0 },
    end: false,
    expiresAt: undefined,
  };
  for (const chunk of response.batch?.chunks ?? []) sent += chunk.data.length;
  for (const follower of followers) {
    if (follower.write(response)) continue;
    call.pause();
    follower.once("drain", () => {
      if (![...followers].some((one) => one.writableNeedDrain)) call.resume();
    });
  }
}

function streamLogs(call: ServerWritableStream<StreamLogsRequest, StreamLogsResponse>): void {
  followers.add(call);
  call.on("close", () => followers.delete(call));
  call.on("cancelled", () => followers.delete(call));
  call.on("error", () => undefined);
}
