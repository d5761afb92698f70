import { type ChannelCredentials, Metadata } from "@grpc/grpc-js";
import { randomBytes } from "node:crypto";
import { Tools } from "./assignment.ts";
import { exitCodes } from "./exit-codes.ts";
import { AgentLife } from "./life.ts";
import type { AgentLog } from "./log.ts";
import { agentVersion } from "./messages.ts";
import { redeem } from "./redeem.ts";
import { Servers } from "./servers.ts";
import type { Proof } from "./settings.ts";

export interface AgentOptions {
  readonly workerId: string;
  /** Where replicas of the server listen. */
  readonly serverAddresses: readonly string[];
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
  /** Longest pause between two tries to reach a server that is away; each is a random part of it. The server may say otherwise. */
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

/** What an agent's life takes besides. */
export interface LifeOptions extends AgentOptions {
  readonly servers: Servers;
  readonly tools: Tools;
  /** Credentials for each call. */
  readonly session: () => Metadata;
}

/** Redeems the token and serves the worker until it is over; resolves with the exit code of the process. */
export async function runAgent(options: AgentOptions): Promise<number> {
  const servers = new Servers(options);
  await using tools = new Tools(options);
  try {
    const session = randomBytes(32).toString("base64url");
    const { workerId, disconnectToleranceMs: patienceMs, log } = options;
    const serverAddress = options.serverAddresses.join(",");
    log.info({ workerId, serverAddress, version: agentVersion }, "agent started");
    const redeeming = redeem({ ...options, servers, session, patienceMs });
    // While the answer is on its way, so that the first job finds everything ready.
    const life = new AgentLife({
      ...options,
      servers,
      tools,
      session: credentialsOf(workerId, session),
    });
    const outcome = await redeeming;
    if (outcome !== "redeemed") return exitCodes[outcome];
    log.info({ workerId, serverAddress: servers.current.address }, "connected");
    return await life.run();
  } finally {
    servers.close();
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
