import { type ChannelCredentials, Metadata } from "@grpc/grpc-js";
import { randomBytes } from "node:crypto";
import { channelOptions } from "#rpc/channel.ts";
import { AgentServiceClient } from "#rpc/gen/hodei/v1/agent_service.ts";
import { exitCodes } from "./exit-codes.ts";
import { AgentLife } from "./life.ts";
import type { AgentLog } from "./log.ts";
import { agentVersion } from "./messages.ts";
import { redeem } from "./redeem.ts";
import type { Proof } from "./settings.ts";

export interface AgentOptions {
  readonly workerId: string;
  readonly serverAddress: string;
  readonly credentials: ChannelCredentials;
  readonly proof: Proof;
  /** A directory of the agent's own, for what jobs need and for logs that cannot be delivered yet. */
  readonly workDir: string;
  /** Attempts at a time, until the server says otherwise. */
  readonly slots: number;
  /** The agent leaves after this long without contact when it has nothing to run (DESIGN G12). */
  readonly disconnectToleranceMs: number;
  /** Most time that jobs get to end by themselves when the agent is asked to stop. */
  readonly stopGraceMs: number;
  /** Longest pause between two tries to reach a server that is away; each is a random part of it. */
  readonly reconnectMaxMs: number;
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

/** The channel's own pause, in which every call fails at once. The pauses between calls are the ones that keep thousands of agents apart. */
const channelPauseMs = { first: 100, most: 500 };

/** Redeems the token and serves the worker until it is over; resolves with the exit code of the process. */
export async function runAgent(options: AgentOptions): Promise<number> {
  const client = new AgentServiceClient(options.serverAddress, options.credentials, {
    ...channelOptions(),
    // One record batch or one result is far below; a peer that sends more is not our server.
    "grpc.max_receive_message_length": 8 * 1024 * 1024,
    // A server that was moved to another node has another address.
    "grpc.initial_reconnect_backoff_ms": channelPauseMs.first,
    "grpc.max_reconnect_backoff_ms": Math.min(channelPauseMs.most, options.reconnectMaxMs),
    "grpc.dns_min_time_between_resolutions_ms": 5_000,
  });
  try {
    const session = randomBytes(32).toString("base64url");
    const { workerId, serverAddress, disconnectToleranceMs: patienceMs, log } = options;
    log.info({ workerId, serverAddress, version: agentVersion }, "agent started");
    const outcome = await redeem({ ...options, client, session, patienceMs });
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
