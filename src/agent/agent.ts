import { type ChannelCredentials, Metadata } from "@grpc/grpc-js";
import { randomBytes } from "node:crypto";
import { channelOptions } from "#rpc/channel.ts";
import { AgentServiceClient } from "#rpc/gen/hodei/v1/agent_service.ts";
import { AgentLife, exitCodes } from "./life.ts";
import type { AgentLog } from "./log.ts";
import { redeem } from "./redeem.ts";

export interface AgentOptions {
  readonly workerId: string;
  readonly serverAddress: string;
  readonly credentials: ChannelCredentials;
  readonly otp: string;
  /** A directory of the agent's own, for what jobs need and for logs that cannot be delivered yet. */
  readonly workDir: string;
  /** Attempts at a time, until the server says otherwise. */
  readonly slots: number;
  /** The agent leaves after this long without contact when it has nothing to run (DESIGN G12). */
  readonly disconnectToleranceMs: number;
  /** Most time that jobs get to end by themselves when the agent is asked to stop. */
  readonly stopGraceMs: number;
  readonly logMemoryBytes: number;
  readonly logSpoolBytes: number;
  /** The agent's environment, of which jobs see an allow-listed part. */
  readonly env: Readonly<Record<string, string>>;
  readonly log: AgentLog;
  /** Ends the jobs politely, reports them and leaves. */
  readonly stop: AbortSignal;
  /** Kills the jobs. */
  readonly kill: AbortSignal;
}

/** Redeems the token and serves the worker until it is over; resolves with the exit code of the process. */
export async function runAgent(options: AgentOptions): Promise<number> {
  const client = new AgentServiceClient(options.serverAddress, options.credentials, {
    ...channelOptions(),
    // One record batch or one result is far below; a peer that sends more is not our server.
    "grpc.max_receive_message_length": 8 * 1024 * 1024,
  });
  try {
    const session = randomBytes(32).toString("base64url");
    const { workerId, otp, stop, log } = options;
    const patienceMs = options.disconnectToleranceMs;
    const outcome = await redeem({ client, workerId, otp, session, patienceMs, stop, log });
    if (outcome !== "redeemed") return exitCodes[outcome];
    log.info({ workerId }, "connected");
    return await new AgentLife(options, client, credentialsOf(workerId, session)).run();
  } finally {
    client.close();
  }
}

function credentialsOf(workerId: string, session: string): () => Metadata {
  return () => {
    const metadata = new Metadata();
    metadata.set("hodei-worker-id", workerId);
    metadata.set("hodei-session", session);
    return metadata;
  };
}
