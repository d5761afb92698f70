import type { Failure, Stage } from "#job/failure.ts";
import type { Usage } from "#job/job.ts";
import { type AttemptState, isFinal, type JobState, jobStates } from "#job/state.ts";
import { failureFromWire, stageFromWire, usageFromWire } from "#rpc/failure.ts";
import type {
  Attempt as WireAttempt,
  Job as WireJob,
  JobEvent as WireEvent,
  JobState as WireState,
} from "#rpc/gen/hodei/v1/job.ts";
import type {
  ExplainJobResponse,
  ProviderVerdict as WireVerdict,
} from "#rpc/gen/hodei/v1/job_service.ts";
import { msOf } from "#rpc/time.ts";
import { type SpecView, specView } from "./spec.ts";

/** A job as the server has it. */
export interface Job {
  readonly id: string;
  readonly tenant: string;
  /** In lists without stdin, env and script. */
  readonly spec: SpecView | undefined;
  readonly state: JobState;
  /** Whether the state is one that stays. */
  readonly isFinal: boolean;
  /** Grows by one with every change. */
  readonly version: number;
  readonly submittedAt: Date | undefined;
  /** When the state was entered. */
  readonly stateAt: Date | undefined;
  readonly endedAt: Date | undefined;
  /** By when something must happen in this state. */
  readonly deadline: Date | undefined;
  /** Oldest first. */
  readonly attempts: readonly Attempt[];
  readonly exitCode: number | undefined;
  /** Why it did not succeed. */
  readonly failure: Failure | undefined;
  readonly expiresAt: Date | undefined;
  readonly correlationId: string;
}

/** One try at a job, on one worker. */
export interface Attempt {
  readonly id: string;
  readonly number: number;
  readonly workerId: string;
  readonly provider: string;
  readonly state: AttemptState;
  readonly assignedAt: Date | undefined;
  readonly startedAt: Date | undefined;
  readonly endedAt: Date | undefined;
  readonly exitCode: number | undefined;
  /** Number of the signal that ended its process. */
  readonly signal: number | undefined;
  readonly failure: Failure | undefined;
  readonly peak: Usage | undefined;
  /** By the price of its worker and the time that it had it, in units of the operator's choice; undefined before it ended. */
  readonly cost: number | undefined;
}

/** One entry of a job's history. */
export interface JobEvent {
  /** Counts from 1; watching can go on after it. */
  readonly sequence: number;
  readonly version: number;
  readonly at: Date | undefined;
  readonly state: JobState;
  readonly stage: Stage;
  /** Number of the attempt concerned. */
  readonly attempt: number | undefined;
  readonly workerId: string | undefined;
  readonly message: string;
  readonly failure: Failure | undefined;
  /** Events before this one that the server no longer has. */
  readonly dropped: number;
}

/** What a job waits for. */
export interface Explanation {
  readonly state: JobState;
  readonly stage: Stage;
  /** One sentence for a person. */
  readonly summary: string;
  readonly jobsAhead: number | undefined;
  /** From 0 to 1. */
  readonly tenantShare: number;
  readonly providers: readonly ProviderVerdict[];
}

/** How one provider was judged for a job. */
export interface ProviderVerdict {
  readonly provider: string;
  readonly type: string;
  readonly isEligible: boolean;
  readonly reason: string;
  readonly rank: number | undefined;
  readonly score: number;
  /** What the score is made of, by name; empty where the strategy looks at one thing only. */
  readonly parts: Readonly<Record<string, number>>;
  /** Of an hour of what the job asks for, in units of the operator's choice. */
  readonly pricePerHour: number;
  /** How long a start is expected to take. */
  readonly startEstimateMs: number | undefined;
  /** Whether it is given work: closed (yes), half_open (one start at a time, until it works again), open (no, since it failed). */
  readonly circuit: (typeof circuits)[number] | "unknown";
}

const circuits = ["closed", "half_open", "open"] as const;

const attemptStates: readonly AttemptState[] = ["planned", "starting", "running", "ended"];

export function jobFromWire(job: WireJob): Job {
  const state = stateFromWire(job.state);
  return {
    id: job.id,
    tenant: job.tenant,
    spec: job.spec && specView(job.spec),
    state,
    isFinal: isFinal(state),
    version: job.version,
    submittedAt: job.submittedAt,
    stateAt: job.stateAt,
    endedAt: job.endedAt,
    deadline: job.deadline,
    attempts: job.attempts.map(attemptFromWire),
    exitCode: job.exitCode,
    failure: job.failure && failureFromWire(job.failure),
    expiresAt: job.expiresAt,
    correlationId: job.correlationId,
  };
}

export function eventFromWire(event: WireEvent): JobEvent {
  return {
    sequence: event.sequence,
    version: event.version,
    at: event.at,
    state: stateFromWire(event.state),
    stage: stageFromWire(event.stage),
    attempt: event.attempt || undefined,
    workerId: event.workerId || undefined,
    message: event.message,
    failure: event.failure && failureFromWire(event.failure),
    dropped: event.dropped,
  };
}

export function explanationFromWire(answer: ExplainJobResponse): Explanation {
  return {
    state: stateFromWire(answer.state),
    stage: stageFromWire(answer.stage),
    summary: answer.summary,
    jobsAhead: answer.jobsAhead,
    tenantShare: answer.tenantShare,
    providers: answer.providers.map(verdictFromWire),
  };
}

function verdictFromWire(verdict: WireVerdict): ProviderVerdict {
  const { provider, type, eligible, reason, rank, score, parts, pricePerHour } = verdict;
  return {
    provider,
    type,
    isEligible: eligible,
    reason,
    rank: rank || undefined,
    score,
    parts,
    pricePerHour,
    startEstimateMs: msOf(verdict.expectedStart),
    circuit: circuits[verdict.circuit - 1] ?? "unknown",
  };
}

// The list of job/state.ts is in the order of the proto's enum, whose first value is "unspecified".
export function stateToWire(state: JobState): WireState {
  return (jobStates.indexOf(state) + 1) as WireState;
}

function stateFromWire(state: WireState): JobState {
  return jobStates[state - 1] ?? "queued";
}

function attemptFromWire(attempt: WireAttempt): Attempt {
  return {
    id: attempt.id,
    number: attempt.number,
    workerId: attempt.workerId,
    provider: attempt.provider,
    state: attemptStates[attempt.state - 1] ?? "planned",
    assignedAt: attempt.assignedAt,
    startedAt: attempt.startedAt,
    endedAt: attempt.endedAt,
    exitCode: attempt.exitCode,
    signal: attempt.signal || undefined,
    failure: attempt.failure && failureFromWire(attempt.failure),
    peak: attempt.peak && usageFromWire(attempt.peak),
    cost: attempt.cost,
  };
}
