import { HodeiError } from "#error.ts";
import type { WorkerId } from "#job/id.ts";
import type { Call } from "#rpc/edge.ts";
import type { Attempts } from "#scheduler/scheduler.ts";
import type { WorkerStore } from "#store/store.ts";

/** Version of the agent protocol that this server speaks. */
export const agentProtocol = 1;

/** What happened on agents' streams that is worth counting. */
export type AgentCount =
  | "control_opened"
  | "logs_opened"
  | "log_disk_full"
  | "log_refused"
  | "outbox_overrun"
  | "credit_overrun";

export interface AgentLimits {
  /** Time between two renewals. */
  readonly renewMs: number;
  /** Longest pause between two tries of an agent to reach a server. */
  readonly reconnectMaxMs: number;
  readonly logBatchBytes: number;
  readonly logBatchDelayMs: number;
  /** Undefined: an idle agent waits for ever. */
  readonly idleTimeoutMs: number | undefined;
  /** Log bytes that an attempt may keep. */
  readonly logQuotaBytes: number;
  /** Log bytes of one stream that may be on their way to the disk. */
  readonly creditBytes: number;
  /** Pause before a batch is tried again for which the disk had no room. */
  readonly logRetryMs: number;
  /** Commands that may wait for a slow agent. */
  readonly outboxCommands: number;
}

export const agentLimits: AgentLimits = {
  renewMs: 5_000,
  reconnectMaxMs: 2_000,
  logBatchBytes: 64 * 1024,
  logBatchDelayMs: 25,
  idleTimeoutMs: undefined,
  logQuotaBytes: 1024 ** 3,
  creditBytes: 4 * 1024 * 1024,
  logRetryMs: 1_000,
  outboxCommands: 8_192,
};

/** What the parts of the service work with. */
export interface AgentGround {
  readonly attempts: Attempts;
  readonly store: Pick<WorkerStore, "findWorker">;
  readonly limits: AgentLimits;
  readonly count: (what: AgentCount) => void;
  readonly now: () => number;
}

/** A call whose worker is known. */
export interface AgentStream {
  readonly workerId: WorkerId;
  /** Its logger is made when it is first used, which matters with thousands of idle agents. */
  readonly call: Pick<Call<unknown>, "signal" | "log" | "reset">;
}

/** An id is echoed to whoever sent it, and waits in memory until it is read; what is so long was never one of ours. */
export function checkEcho(id: string): void {
  if (id.length <= 64) return;
  throw new HodeiError("invalid_argument", "attempt_id: has more than 64 characters");
}

/** Newer agents speak older versions too; the answer says which one this server speaks. */
export function checkProtocol(protocol: number): void {
  if (protocol >= 1) return;
  throw new HodeiError("failed_precondition", `protocol ${protocol} is not spoken here`, {
    hint: `this server speaks version ${agentProtocol}`,
  });
}
