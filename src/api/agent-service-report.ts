import type { Failure } from "#job/failure.ts";
import { isAttemptId, isJobId, type AttemptId, type JobId } from "#job/id.ts";
import type { Outcome } from "#job/job.ts";
import { failureFromWire, usageFromWire } from "#rpc/failure.ts";
import type {
  HeldAttempt as WireHeld,
  Renewal,
  Result,
  Started,
} from "#rpc/gen/hodei/v1/agent_service.ts";
import { AttemptState } from "#rpc/gen/hodei/v1/job.ts";
import type { HeldAttempt, ResultReport, StartReport, UsageReport } from "#scheduler/scheduler.ts";

// Agents run beside code that we do not trust: what they say is bounded here before anything stores it.

const bounds = { messageChars: 4_096, evidence: 32, evidenceChars: 1_024 } as const;

/** Undefined when there can be no such attempt. */
export function heldFromWire(wire: WireHeld): HeldAttempt | undefined {
  const ids = idsOf(wire);
  return ids && { ...ids, hasEnded: wire.state === AttemptState.ATTEMPT_STATE_ENDED };
}

export function usagesFromWire({ usage }: Renewal): UsageReport[] {
  return usage.flatMap((one) => {
    if (!isAttemptId(one.attemptId) || one.usage === undefined) return [];
    return [{ attemptId: one.attemptId, usage: usageFromWire(one.usage) }];
  });
}

export function startFromWire(wire: Started, now: number): StartReport | undefined {
  const ids = idsOf(wire);
  return ids && { ...ids, startedAt: timeOf(wire.at) ?? now };
}

/** The same result has the same outcome each time it is sent, as far as the agent says when it ended. */
export function resultFromWire(wire: Result, now: number): ResultReport | undefined {
  const ids = idsOf(wire);
  if (ids === undefined) return undefined;
  const startedAt = timeOf(wire.startedAt);
  const signal = wire.signal === 0 ? undefined : wire.signal;
  const outcome: Outcome = {
    exitCode: wire.exitCode,
    signal,
    failure:
      wire.failure === undefined
        ? unsaid(wire.exitCode, signal)
        : bounded(failureFromWire(wire.failure)),
    startedAt,
    endedAt: timeOf(wire.endedAt) ?? startedAt ?? now,
    peak: wire.peak && usageFromWire(wire.peak),
  };
  return { ...ids, outcome, lastLogBatch: Math.max(0, wire.lastLogBatch) };
}

function idsOf(wire: {
  readonly attemptId: string;
  readonly jobId: string;
}): { readonly attemptId: AttemptId; readonly jobId: JobId } | undefined {
  const { attemptId, jobId } = wire;
  return isAttemptId(attemptId) && isJobId(jobId) ? { attemptId, jobId } : undefined;
}

function timeOf(date: Date | undefined): number | undefined {
  const ms = date?.getTime();
  return ms === undefined || Number.isNaN(ms) || ms <= 0 ? undefined : ms;
}

/** A process that ended badly did not succeed, also when its agent forgot to say so. */
function unsaid(exitCode: number | undefined, signal: number | undefined): Failure | undefined {
  if ((exitCode ?? 0) === 0 && signal === undefined) return undefined;
  const said = signal === undefined ? `code ${exitCode}` : `signal ${signal}`;
  return {
    stage: "running",
    cause: signal === undefined ? "exit_code" : "signal",
    blame: "user",
    message: `the process ended with ${said}`,
    userCodeMayHaveRun: true,
    evidence: signal === undefined ? { exit_code: String(exitCode) } : { signal: String(signal) },
  };
}

function bounded(failure: Failure): Failure {
  const evidence = Object.entries(failure.evidence)
    .slice(0, bounds.evidence)
    .map(([name, text]) => [name.slice(0, 64), text.slice(0, bounds.evidenceChars)] as const);
  return {
    ...failure,
    message: failure.message.slice(0, bounds.messageChars),
    evidence: Object.fromEntries(evidence),
  };
}
