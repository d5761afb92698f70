import { HodeiError } from "#error.ts";
import { cancelledFailure } from "#job/history.ts";
import { isJobId, jobIdOf, numberOf, type JobId } from "#job/id.ts";
import type { Job } from "#job/job.ts";
import { canMove, isFinal } from "#job/state.ts";
import type {
  JobQuery,
  NewCancel,
  NewJob,
  NewStage,
  Page,
  SubmitOutcome,
  VersionedMove,
} from "#store/store.ts";
import { isSameHash } from "#worker/secret.ts";
import { cut } from "./page.ts";
import { promote, refreshShares } from "./shares.ts";
import {
  appendEvent,
  applyMove,
  currentAttempt,
  priceOf,
  withCurrent,
  type JobEntry,
  type State,
} from "./state.ts";

export function submitJob(state: State, job: NewJob, now: number): SubmitOutcome {
  const earlier = findKey(state, job, now);
  if (earlier !== undefined) return earlier;
  const queued = countQueued(state, job.tenant);
  if (queued >= job.maxQueued) return { kind: "quota", queued };

  const id = jobIdOf(state.nextNumber(now));
  const { tenant, spec, name, labels, classKey, priority, deadline, correlationId } = job;
  promote(state, now);
  const entry: JobEntry = {
    job: {
      id,
      tenant,
      spec,
      name,
      labels,
      classKey,
      priority,
      deadline,
      correlationId,
      state: "queued",
      version: 1,
      submittedAt: now,
      stateAt: now,
      endedAt: undefined,
      notBefore: now,
      attempts: [],
      spentAttempts: 0,
      infraRetries: 0,
      failure: undefined,
      expiresAt: undefined,
    },
    events: [],
    sequence: 0,
  };
  state.jobs.set(id, entry);
  if (job.idempotency !== undefined) {
    const { key, specHash, expiresAt } = job.idempotency;
    state.keys.set(keyOf(tenant, key), { jobId: id, specHash, expiresAt });
  }
  const message = `submitted by ${job.actor}`;
  appendEvent(state, entry, { at: now, stage: "queued", ...nobody, message, failure: undefined });
  refreshShares(state, classKey);
  return { kind: "accepted", id, version: 1, alreadyExisted: false };
}

const nobody = { attempt: 0, workerId: undefined };

export function keyOf(tenant: string, key: string): string {
  return JSON.stringify([tenant, key]);
}

export function tenantAndKeyOf(name: string): { readonly tenant: string; readonly key: string } {
  const [tenant, key] = JSON.parse(name) as [string, string];
  return { tenant, key };
}

function findKey(state: State, job: NewJob, now: number): SubmitOutcome | undefined {
  if (job.idempotency === undefined) return undefined;
  const known = state.keys.get(keyOf(job.tenant, job.idempotency.key));
  const first = known === undefined ? undefined : state.jobs.get(known.jobId)?.job;
  if (known === undefined || first === undefined || known.expiresAt <= now) return undefined;
  if (!isSameHash(known.specHash, job.idempotency.specHash)) {
    return { kind: "conflict", id: first.id };
  }
  return { kind: "accepted", id: first.id, version: first.version, alreadyExisted: true };
}

function countQueued(state: State, tenant: string): number {
  const jobs = [...state.jobs.values()];
  return jobs.filter(({ job }) => job.tenant === tenant && job.state === "queued").length;
}

export function listJobs(state: State, query: JobQuery): Page<Job> {
  const text = query.text.toLowerCase();
  const fits = (job: Job) =>
    (query.tenant === undefined || job.tenant === query.tenant) &&
    (query.states.length === 0 || query.states.includes(job.state)) &&
    Object.entries(query.labels).every(([name, value]) => job.labels[name] === value) &&
    (job.name.toLowerCase().includes(text) || job.id.includes(text)) &&
    job.submittedAt >= (query.submittedAfter ?? 0) &&
    job.submittedAt < (query.submittedBefore ?? Infinity);
  const jobs = [...state.jobs.values()].map((entry) => entry.job).filter(fits);
  jobs.sort((one, other) => numberOf(other.id) - numberOf(one.id));
  const isAfter = (job: Job, token: string) => job.id < token;
  return cut(jobs, query, { isToken: isJobId, isAfter, tokenOf: (job) => job.id });
}

export function recordStage(state: State, given: NewStage, now: number): void {
  const entry = state.jobs.get(given.jobId);
  if (entry === undefined || isFinal(entry.job.state)) return;
  const { stage, workerId, message, failure } = given;
  const last = entry.job.attempts.at(-1);
  const attempt = last === undefined || last.state === "ended" ? 0 : last.number;
  appendEvent(state, entry, { at: now, stage, attempt, workerId, message, failure });
}

export function cancelJob(state: State, request: { id: JobId } & NewCancel, now: number): Job {
  const entry = state.jobs.get(request.id);
  if (entry === undefined) throw new HodeiError("not_found", `job ${request.id} is not known`);
  const { job } = entry;
  if (isFinal(job.state)) {
    throw new HodeiError("failed_precondition", `job ${job.id} is over: it ${job.state}`);
  }
  if (job.state === "cancelling") return job;
  const why = request.reason === "" ? "" : `: ${request.reason}`;
  const message = `cancelled by ${request.actor}${why}`;
  if (job.state === "queued") {
    const failure = cancelledFailure("queued", message);
    const set = { failure, expiresAt: request.expiresAt };
    applyMove(state, entry, { move: "end_cancelled", now, message, failure, set });
  } else {
    const set = { deadline: request.deadline };
    applyMove(state, entry, { move: "cancel", now, message, set });
  }
  return entry.job;
}

export function listDue(state: State, now: number, limit: number): Job[] {
  return [...state.jobs.values()]
    .map((entry) => entry.job)
    .filter((job) => job.deadline !== undefined && job.deadline <= now)
    .sort((one, other) => (one.deadline ?? 0) - (other.deadline ?? 0) || byAge(one, other))
    .slice(0, limit);
}

function byAge(one: Job, other: Job): number {
  return numberOf(one.id) - numberOf(other.id);
}

export function moveVersion(state: State, given: VersionedMove, now: number): boolean {
  promote(state, now);
  const entry = state.jobs.get(given.jobId);
  if (entry === undefined || entry.job.version !== given.version) return false;
  const { job } = entry;
  if (!canMove(job.state, given.move)) return false;
  const { move, failure, next } = given;
  const pricePerHour = priceOf(state, currentAttempt(job));
  const ended = { state: "ended", endedAt: now, failure, pricePerHour } as const;
  const attempts = withCurrent(job, ended);
  const set =
    next.kind === "queued"
      ? { attempts, ...requeued(job, next) }
      : { attempts, failure, expiresAt: next.expiresAt };
  applyMove(state, entry, { move, now, message: failure.message, failure, set });
  return true;
}

/** What changes in a job that goes back to the queue. */
export function requeued(
  job: Job,
  next: Extract<VersionedMove["next"], { kind: "queued" }>,
): Partial<Job> {
  return {
    notBefore: next.notBefore,
    deadline: next.deadline,
    spentAttempts: job.spentAttempts + (next.isSpent ? 1 : 0),
    infraRetries: job.infraRetries + (next.isSpent ? 0 : 1),
  };
}

export function checkNext(move: string, next: VersionedMove["next"]): void {
  if ((move === "requeue") !== (next.kind === "queued")) {
    throw new HodeiError("invalid_argument", `${move} cannot be followed by ${next.kind}`);
  }
}
