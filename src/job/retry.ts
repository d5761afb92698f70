import type { Failure } from "./failure.ts";
import type { JobSpec, RetryPolicy } from "./job.ts";
import type { JobMove } from "./state.ts";

/** What an attempt's end means for its job. */
export interface Verdict {
  readonly move: Extract<JobMove, "succeed" | "fail" | "end_cancelled" | "time_out" | "requeue">;
  /** Pause before the next attempt, in milliseconds; zero unless the move is `requeue`. */
  readonly backoffMs: number;
  /** Whether the attempt counts against the retry policy. */
  readonly isSpent: boolean;
}

export interface AttemptHistory {
  /** Attempts spent before this one. */
  readonly spentAttempts: number;
  /** Infrastructure failures before this one. */
  readonly infraRetries: number;
}

export interface RetryLimits {
  readonly maxInfraRetries: number;
  /** From 0 (inclusive) to 1 (exclusive). */
  readonly random: number;
}

/**
 * Decides what follows an attempt that ended. Infrastructure failures before user code ran are retried without spending the user's
 * attempts, up to `maxInfraRetries`; after a loss that may have run user code only if the policy says so (DESIGN G23).
 */
export function judge(
  spec: Pick<JobSpec, "retry" | "reschedule">,
  failure: Failure | undefined,
  context: AttemptHistory & RetryLimits,
): Verdict {
  if (failure === undefined) return { move: "succeed", backoffMs: 0, isSpent: true };
  if (failure.cause === "cancelled") return { move: "end_cancelled", backoffMs: 0, isSpent: true };

  const isSpent = failure.blame === "user" || failure.userCodeMayHaveRun;
  if (!isSpent) {
    const isWorthIt = context.infraRetries < context.maxInfraRetries;
    const backoffMs = infraBackoffMs(context);
    return isWorthIt
      ? { move: "requeue", backoffMs, isSpent }
      : { move: "fail", backoffMs: 0, isSpent };
  }
  const end = failure.cause === "execution_timeout" ? "time_out" : "fail";
  const isLeft = context.spentAttempts + 1 < spec.retry.maxAttempts;
  if (!isLeft || !isRetryable(spec, failure)) return { move: end, backoffMs: 0, isSpent };
  return { move: "requeue", backoffMs: backoff(spec.retry, context), isSpent };
}

/** Pause after an infrastructure failure: between half of what grows with each one and all of it. */
export function infraBackoffMs(
  context: Pick<AttemptHistory & RetryLimits, "infraRetries" | "random">,
): number {
  return Math.min(30_000, 250 * 2 ** context.infraRetries) * (0.5 + context.random / 2);
}

function isRetryable(spec: Pick<JobSpec, "retry" | "reschedule">, failure: Failure): boolean {
  if (failure.cause === "exit_code") {
    const codes = spec.retry.retryableExitCodes;
    return codes.length === 0 || codes.includes(Number(failure.evidence["exit_code"]));
  }
  if (failure.blame === "user") return true;
  return spec.reschedule === "after_loss" && spec.retry.retryLost;
}

/** Between half of the growing pause and all of it. */
function backoff(policy: RetryPolicy, context: AttemptHistory & RetryLimits): number {
  const pause = policy.initialBackoffMs * policy.multiplier ** context.spentAttempts;
  return Math.min(policy.maxBackoffMs, pause) * (0.5 + context.random / 2);
}
