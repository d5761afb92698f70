export const stages = [
  "queued",
  "selecting",
  "creating",
  "scheduling",
  "pulling",
  "connecting",
  "preparing",
  "running",
  "uploading",
  "ended",
] as const;
/** How far an attempt has come, in detail. */
export type Stage = (typeof stages)[number];

export const causes = [
  "exit_code",
  "signal",
  "command_not_found",
  "not_executable",
  "preparation_failed",
  "out_of_memory",
  "execution_timeout",
  "queue_timeout",
  "cancelled",
  "start_timeout",
  "start_failed",
  "worker_died",
  "worker_lost",
  "worker_stopped",
  "self_stopped",
  "no_provider",
  "too_many_retries",
  "quota",
  "internal",
] as const;
export type Cause = (typeof causes)[number];

export const blames = ["user", "quota", "policy", "provider", "node", "system"] as const;
export type Blame = (typeof blames)[number];

/** Why something did not succeed (DESIGN G23). */
export interface Failure {
  readonly stage: Stage;
  readonly cause: Cause;
  readonly blame: Blame;
  /** One sentence for a person. */
  readonly message: string;
  readonly userCodeMayHaveRun: boolean;
  /** What was seen: exit codes, the provider's own words, names. */
  readonly evidence: Readonly<Record<string, string>>;
}
