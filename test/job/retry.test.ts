import { describe, expect, test } from "vitest";
import type { Failure } from "#job/failure.ts";
import type { RetryPolicy } from "#job/job.ts";
import { judge } from "#job/retry.ts";

const policy: RetryPolicy = {
  maxAttempts: 3,
  initialBackoffMs: 1_000,
  maxBackoffMs: 5_000,
  multiplier: 2,
  retryableExitCodes: [],
  retryLost: false,
};
const spec = { retry: policy, reschedule: "after_loss" } as const;
const fresh = { spentAttempts: 0, infraRetries: 0, maxInfraRetries: 2, random: 0 };

function failed(change: Partial<Failure>): Failure {
  return {
    stage: "running",
    cause: "exit_code",
    blame: "user",
    message: "",
    userCodeMayHaveRun: true,
    evidence: { exit_code: "3" },
    ...change,
  };
}

const lost = failed({ cause: "worker_lost", blame: "node" });
const notUp = failed({ cause: "start_failed", blame: "provider", userCodeMayHaveRun: false });

describe("what follows an attempt", () => {
  test("no failure is a success", () => {
    expect(judge(spec, undefined, fresh)).toMatchObject({ move: "succeed" });
  });

  test("a cancelled attempt ends its job", () => {
    expect(judge(spec, failed({ cause: "cancelled" }), fresh)).toMatchObject({
      move: "end_cancelled",
    });
  });

  test("the user's failures are tried as often as the policy says", () => {
    expect(judge(spec, failed({}), { ...fresh, spentAttempts: 1 })).toMatchObject({
      move: "requeue",
      isSpent: true,
    });
    expect(judge(spec, failed({}), { ...fresh, spentAttempts: 2 })).toMatchObject({ move: "fail" });
  });

  test("exit codes that are not named are not tried again", () => {
    const some = { ...spec, retry: { ...policy, retryableExitCodes: [75] } };
    expect(judge(some, failed({}), fresh)).toMatchObject({ move: "fail" });
    const named = failed({ evidence: { exit_code: "75" } });
    expect(judge(some, named, fresh)).toMatchObject({ move: "requeue" });
  });

  test("an execution timeout that is not tried again is timed out", () => {
    const once = { ...spec, retry: { ...policy, maxAttempts: 1 } };
    const late = failed({ cause: "execution_timeout" });
    expect(judge(once, late, fresh)).toMatchObject({ move: "time_out" });
  });

  test("infrastructure that failed before user code ran spends nothing, up to a bound", () => {
    expect(judge(spec, notUp, fresh)).toMatchObject({ move: "requeue", isSpent: false });
    expect(judge(spec, notUp, { ...fresh, infraRetries: 2 })).toMatchObject({
      move: "fail",
      isSpent: false,
    });
  });

  test("after a loss that may have run user code only the policy allows another try", () => {
    expect(judge(spec, lost, fresh)).toMatchObject({ move: "fail", isSpent: true });
    const again = { ...spec, retry: { ...policy, retryLost: true } };
    expect(judge(again, lost, fresh)).toMatchObject({ move: "requeue", isSpent: true });
    expect(judge({ ...again, reschedule: "never" }, lost, fresh)).toMatchObject({ move: "fail" });
  });

  test.for([
    { spentAttempts: 0, random: 0, backoffMs: 500 },
    { spentAttempts: 1, random: 0.5, backoffMs: 1_500 },
    { spentAttempts: 8, random: 0, backoffMs: 2_500 },
  ])("the pause grows with a jitter, up to a bound: %o", ({ backoffMs, ...context }) => {
    const patient = { ...spec, retry: { ...policy, maxAttempts: 20 } };
    expect(judge(patient, failed({}), { ...fresh, ...context }).backoffMs).toBe(backoffMs);
  });
});
