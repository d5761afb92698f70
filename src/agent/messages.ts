import { hostname } from "node:os";
import type { AgentEvent } from "#rpc/gen/hodei/v1/agent_service.ts";
import { AttemptState } from "#rpc/gen/hodei/v1/job.ts";
import { failureToWire, usageToWire } from "#rpc/failure.ts";
import { dateOf, durationOf } from "#rpc/time.ts";
import type { Attempt } from "./attempt.ts";
import { listProcesses } from "#processes.ts";

export const protocol = 1;
export const agentVersion = "0.1.0";

export function helloOf(attempts: Iterable<Attempt>, slots: number): AgentEvent {
  const held = [...attempts].map((attempt) => ({
    attemptId: attempt.id,
    jobId: attempt.jobId,
    state: stateOf(attempt),
  }));
  const platform = `${process.platform}/${process.arch}`;
  const value = { protocol, agentVersion, slots, attempts: held, hostname: hostname(), platform };
  return { event: { $case: "hello", value } };
}

export function renewalOf(sequence: number, attempts: Iterable<Attempt>, now: number): AgentEvent {
  const running = [...attempts].filter(({ isRunning }) => isRunning);
  const all = running.length === 0 ? [] : listProcesses();
  const usage = running.map((attempt) => ({
    attemptId: attempt.id,
    jobId: attempt.jobId,
    usage: usageToWire(attempt.usage(all)),
    sinceLastOutput:
      attempt.log.lastOutputAt === undefined
        ? undefined
        : durationOf(Math.round(now - attempt.log.lastOutputAt)),
  }));
  return { event: { $case: "renewal", value: { sequence, usage } } };
}

export function startedOf(attempt: Attempt): AgentEvent {
  const at = dateOf(attempt.startedAt);
  return {
    event: { $case: "started", value: { attemptId: attempt.id, jobId: attempt.jobId, at } },
  };
}

/** The result of an attempt that is over; undefined before. */
export function resultOf(attempt: Attempt): AgentEvent | undefined {
  const { outcome } = attempt;
  if (outcome === undefined) return undefined;
  const value = {
    attemptId: attempt.id,
    jobId: attempt.jobId,
    exitCode: outcome.exitCode,
    signal: outcome.signal ?? 0,
    failure: outcome.failure && failureToWire(outcome.failure),
    startedAt: dateOf(outcome.startedAt),
    endedAt: dateOf(outcome.endedAt),
    lastLogBatch: attempt.log.lastBatch,
    peak: outcome.peak && usageToWire(outcome.peak),
  };
  return { event: { $case: "result", value } };
}

/** The newest that there is to tell of each attempt. */
export function knownOf(attempts: Iterable<Attempt>): AgentEvent[] {
  return [...attempts].flatMap((attempt) => {
    const result = resultOf(attempt);
    if (result !== undefined) return result;
    return attempt.startedAt === undefined ? [] : startedOf(attempt);
  });
}

export function fenceAckOf(attemptId: string, mayHaveRun: boolean): AgentEvent {
  return { event: { $case: "fenceAck", value: { attemptId, mayHaveRun } } };
}

export function drainingOf(reason: string, graceMs: number): AgentEvent {
  return { event: { $case: "draining", value: { reason, grace: durationOf(graceMs) } } };
}

export function goodbyeOf(reason: string): AgentEvent {
  return { event: { $case: "goodbye", value: { reason } } };
}

function stateOf(attempt: Attempt): AttemptState {
  if (attempt.outcome !== undefined) return AttemptState.ATTEMPT_STATE_ENDED;
  return attempt.startedAt === undefined
    ? AttemptState.ATTEMPT_STATE_PLANNED
    : AttemptState.ATTEMPT_STATE_RUNNING;
}
