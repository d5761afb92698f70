import {
  Server,
  ServerCredentials,
  type sendUnaryData,
  type ServerDuplexStream,
} from "@grpc/grpc-js";
import {
  AgentServiceService,
  type ControlRequest,
  type ControlResponse,
  type LogsResponse,
  type RedeemResponse,
} from "#rpc/gen/hodei/v1/agent_service.ts";

/** A server that only lets agents in, and says when the last one redeemed its token. */
export const calls = { start, redeemed, stop: () => server?.forceShutdown() };

let server: Server | undefined;
let redeemedAt: number | undefined;
let wake: (() => void) | undefined;

async function start(): Promise<string> {
  server = new Server();
  server.addService(AgentServiceService, { redeem, control, logs });
  const port = await new Promise<number>((resolve, reject) => {
    server?.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return `127.0.0.1:${port}`;
}

/** When the next agent has redeemed, in milliseconds since 1970. */
async function redeemed(): Promise<number> {
  while (redeemedAt === undefined) await new Promise<void>((resolve) => (wake = resolve));
  const at = redeemedAt;
  redeemedAt = undefined;
  return at;
}

function redeem(_call: unknown, answer: sendUnaryData<RedeemResponse>): void {
  redeemedAt = performance.timeOrigin + performance.now();
  answer(null, { protocol: 1 });
  wake?.();
}

function control(call: ServerDuplexStream<ControlRequest, ControlResponse>): void {
  const welcome = {
    protocol: 1,
    renewInterval: { seconds: 5, nanos: 0 },
    logBatchBytes: 65_536,
    logBatchDelay: { seconds: 0, nanos: 25_000_000 },
    maxJobs: 0,
    idleTimeout: undefined,
    slots: 1,
    logQuotaBytes: 1_000_000,
    reconnectMax: undefined,
  };
  call.on("data", ({ events }: ControlRequest) => {
    for (const { event } of events) {
      if (event?.$case === "hello")
        call.write({ commands: [{ command: { $case: "welcome", value: welcome } }] });
    }
  });
  call.on("end", () => call.end());
  call.on("error", () => undefined);
}

function logs(call: ServerDuplexStream<unknown, LogsResponse>): void {
  call.write({ acks: [], creditBytes: 1_000_000 });
  call.on("data", () => undefined);
  call.on("end", () => call.end());
  call.on("error", () => undefined);
}
