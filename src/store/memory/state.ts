import { createSequence, type JobId, type WorkerId } from "#job/id.ts";
import type { Failure } from "#job/failure.ts";
import { boundEvents, defaultMaxEvents, stageOf } from "#job/history.ts";
import type { Attempt, Job, JobEvent } from "#job/job.ts";
import { isFinal, moveJob, type JobMove } from "#job/state.ts";
import type { AuditEntry, Token } from "#tenant/identity.ts";
import type { ProviderEvent, ProviderRecord, ProviderState } from "#worker/provider-record.ts";
import type { Worker } from "#worker/worker.ts";
import { refreshShares, type Shares } from "./shares.ts";

export interface MemoryOptions {
  /** Events kept for each job. */
  readonly maxEventsPerJob?: number;
  /** How many turns a tenant takes for one of another; 1 unless named. */
  readonly tenantWeights?: Readonly<Record<string, number>>;
}

export interface JobEntry {
  job: Job;
  events: readonly JobEvent[];
  sequence: number;
}

export interface WorkerEntry {
  worker: Omit<Worker, "jobs">;
  readonly otpHash: Uint8Array;
  readonly otpExpiresAt: number;
  sessionHash: Uint8Array | undefined;
}

export interface IdempotencyKey {
  readonly jobId: JobId;
  readonly specHash: Uint8Array;
  readonly expiresAt: number;
}

/** Everything that the store knows. Values are replaced, never changed. */
export interface State {
  readonly maxEvents: number;
  readonly weightOf: (tenant: string) => number;
  readonly nextNumber: (now: number) => number;
  readonly jobs: Map<JobId, JobEntry>;
  readonly keys: Map<string, IdempotencyKey>;
  readonly workers: Map<WorkerId, WorkerEntry>;
  readonly tokens: Map<string, { token: Token; secretHash: Uint8Array }>;
  readonly audit: { entry: AuditEntry; expiresAt: number }[];
  readonly providers: Map<string, ProviderRecord>;
  readonly providerStates: Map<string, ProviderState>;
  providerEvents: { event: ProviderEvent; expiresAt: number }[];
  providerSequence: number;
  readonly shares: Shares;
  auditSequence: number;
  /** The latest time that was heard of: what backs off until then may be claimed. */
  promotedAt: number;
}

export function emptyState(options: MemoryOptions): State {
  return {
    maxEvents: options.maxEventsPerJob ?? defaultMaxEvents,
    weightOf: (tenant) => options.tenantWeights?.[tenant] ?? 1,
    nextNumber: createSequence(),
    jobs: new Map(),
    keys: new Map(),
    workers: new Map(),
    tokens: new Map(),
    audit: [],
    providers: new Map(),
    providerStates: new Map(),
    providerEvents: [],
    providerSequence: 0,
    shares: new Map(),
    auditSequence: 0,
    promotedAt: 0,
  };
}

export function currentAttempt(job: Job): Attempt | undefined {
  const last = job.attempts.at(-1);
  return last?.state === "ended" ? undefined : last;
}

export interface Change {
  readonly move: JobMove;
  readonly now: number;
  readonly message: string;
  readonly failure?: Failure | undefined;
  readonly set?: Partial<Job>;
}

/** Makes one move: the new state, one more version, one event. */
export function applyMove(state: State, entry: JobEntry, change: Change): void {
  const before = entry.job;
  const to = moveJob(before.state, change.move);
  const attempt = currentAttempt({ ...before, ...change.set }) ?? currentAttempt(before);
  const over = isFinal(to) ? { endedAt: change.now, deadline: undefined } : {};
  entry.job = {
    ...before,
    ...over,
    ...change.set,
    state: to,
    version: before.version + 1,
    stateAt: change.now,
  };
  appendEvent(state, entry, {
    at: change.now,
    stage: stageOf(to, before.state),
    attempt: attempt?.number ?? 0,
    workerId: attempt?.workerId,
    message: change.message,
    failure: change.failure,
  });
  refreshShares(state, before.classKey);
}

export function appendEvent(
  state: State,
  entry: JobEntry,
  event: Omit<JobEvent, "sequence" | "version" | "state" | "dropped">,
): void {
  entry.sequence++;
  const { version, state: jobState } = entry.job;
  const full = { ...event, sequence: entry.sequence, version, state: jobState, dropped: 0 };
  entry.events = boundEvents([...entry.events, full], state.maxEvents);
}

export function priceOf(state: State, attempt: Attempt | undefined): number {
  const entry = attempt === undefined ? undefined : state.workers.get(attempt.workerId);
  return entry?.worker.pricePerHour ?? 0;
}

/** The job's attempts with its current one changed. */
export function withCurrent(job: Job, change: Partial<Attempt>): readonly Attempt[] {
  return job.attempts.map((attempt) =>
    attempt.state === "ended" ? attempt : { ...attempt, ...change },
  );
}
