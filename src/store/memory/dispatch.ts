import { cancelledFailure, movesTo } from "#job/history.ts";
import type { AttemptId, JobId, WorkerId } from "#job/id.ts";
import type { Attempt, Job, Outcome } from "#job/job.ts";
import { canMove, isFinal, type JobMove } from "#job/state.ts";
import type {
  Assignment,
  AttemptFinish,
  AttemptStart,
  Claim,
  Demand,
  Fenced,
  Finished,
} from "#store/store.ts";
import { takesAttempts } from "#worker/worker.ts";
import { requeued } from "./jobs.ts";
import { byTurn, isReady, listReady, nextTenant, payTurn, promote } from "./shares.ts";
import {
  applyMove,
  currentAttempt,
  priceOf,
  withCurrent,
  type JobEntry,
  type State,
  type WorkerEntry,
} from "./state.ts";

export function claimNext(
  state: State,
  request: { workerId: WorkerId } & Claim,
  now: number,
): Assignment[] {
  promote(state, now);
  const assignments: Assignment[] = [];
  const known = state.workers.get(request.workerId);
  if (known === undefined || !takesAttempts(known.worker.state)) return assignments;
  const { connection = known.worker.connection } = request;
  if (connection !== known.worker.connection) return assignments;
  for (const attemptId of request.attemptIds.slice(0, request.count)) {
    if (known.worker.attempts >= known.worker.maxJobs) break;
    const entry = nextJob(state, known);
    if (entry === undefined) break;
    payTurn(state, entry.job);
    const tenant = request.bindsTenant ? entry.job.tenant : known.worker.tenant;
    known.worker = { ...known.worker, tenant, attempts: known.worker.attempts + 1 };
    assignments.push(assign(state, entry, { attemptId, request, worker: known.worker, now }));
  }
  return assignments;
}

function nextJob(state: State, { worker }: WorkerEntry): JobEntry | undefined {
  const { forJob, isForJobOnly } = worker;
  const mine = listReady(state, worker.classKey).filter(
    (job) =>
      (worker.tenant === undefined || job.tenant === worker.tenant) &&
      (!isForJobOnly || forJob === undefined || job.id === forJob),
  );
  const tenant = nextTenant(state, mine);
  const first = mine.filter((job) => job.tenant === tenant).sort(byTurn)[0];
  return first === undefined ? undefined : state.jobs.get(first.id);
}

interface Given {
  readonly attemptId: AttemptId;
  readonly request: Claim;
  readonly worker: WorkerEntry["worker"];
  readonly now: number;
}

function assign(state: State, entry: JobEntry, given: Given): Assignment {
  const { attemptId, request, worker, now } = given;
  const attempt: Attempt = {
    id: attemptId,
    number: entry.job.attempts.length + 1,
    workerId: worker.id,
    provider: worker.provider,
    state: "starting",
    assignedAt: now,
    startedAt: undefined,
    endedAt: undefined,
    exitCode: undefined,
    signal: undefined,
    failure: undefined,
    peak: undefined,
    pricePerHour: undefined,
  };
  const set = { deadline: request.deadline, attempts: [...entry.job.attempts, attempt] };
  const message = `assigned to worker ${worker.id}`;
  applyMove(state, entry, { move: "start", now, message, set });
  const { id, tenant, spec, correlationId, spentAttempts, infraRetries } = entry.job;
  return {
    jobId: id,
    attemptId,
    attemptNumber: attempt.number,
    tenant,
    spec,
    correlationId,
    spentAttempts,
    infraRetries,
  };
}

export function startAttempt(state: State, start: AttemptStart, now: number): Fenced {
  const entry = state.jobs.get(start.jobId);
  const attempt = entry === undefined ? undefined : currentAttempt(entry.job);
  if (entry === undefined || attempt?.id !== start.attemptId) return "fenced";
  if (!canMove(entry.job.state, "run")) return "ok";
  applyMove(state, entry, { move: "run", now, message: "started", set: running(entry.job, start) });
  return "ok";
}

function running(job: Job, start: { startedAt: number; deadline?: number }): Partial<Job> {
  const attempts = withCurrent(job, { state: "running", startedAt: start.startedAt });
  return start.deadline === undefined ? { attempts } : { attempts, deadline: start.deadline };
}

export function finishAttempt(state: State, finish: AttemptFinish, now: number): Finished {
  promote(state, now);
  const entry = state.jobs.get(finish.jobId);
  const attempt = entry?.job.attempts.find((one) => one.id === finish.attemptId);
  if (entry === undefined || attempt === undefined) return "fenced";
  const { outcome } = finish;
  if (attempt.state === "ended") return isRepeat(attempt, outcome) ? "repeat" : "fenced";

  const hasStarted = outcome.startedAt !== undefined;
  const way = movesTo(finish.move, { state: entry.job.state, hasStarted });
  for (const move of way) finishStep(state, entry, { move, finish, now });
  return "ok";
}

function isRepeat(attempt: Attempt, outcome: Outcome): boolean {
  return (
    attempt.endedAt === outcome.endedAt &&
    attempt.exitCode === outcome.exitCode &&
    attempt.signal === outcome.signal
  );
}

function finishStep(
  state: State,
  entry: JobEntry,
  step: { move: JobMove; finish: AttemptFinish; now: number },
): void {
  const { move, finish, now } = step;
  const { outcome, next } = finish;
  if (move === "run") {
    const set = running(entry.job, { startedAt: outcome.startedAt ?? now });
    applyMove(state, entry, { move, now, message: "started", set });
    return;
  }
  if (move === "cancel") {
    applyMove(state, entry, { move, now, message: "ended as cancelled" });
    return;
  }
  const stage = outcome.startedAt === undefined ? "preparing" : "running";
  const failure =
    outcome.failure ??
    (move === "end_cancelled" ? cancelledFailure(stage, "cancelled") : undefined);
  const current = currentAttempt(entry.job);
  const attempts = withCurrent(entry.job, {
    state: "ended",
    startedAt: current?.startedAt ?? outcome.startedAt,
    endedAt: outcome.endedAt,
    exitCode: outcome.exitCode,
    signal: outcome.signal,
    failure,
    peak: outcome.peak,
    pricePerHour: priceOf(state, current),
  });
  const expiresAt = next.kind === "over" ? next.expiresAt : finish.expiresAt;
  const set =
    move === "requeue" && next.kind === "queued"
      ? { attempts, ...requeued(entry.job, next) }
      : { attempts, failure, expiresAt };
  const message = failure?.message ?? "succeeded";
  applyMove(state, entry, { move, now, message, failure, set });
}

export function readDemand(state: State, now: number): Demand[] {
  promote(state, now);
  const kinds = new Map<string, { -readonly [K in keyof Demand]: Demand[K] }>();
  for (const { job } of state.jobs.values()) {
    if (job.state !== "queued") continue;
    const { tenant, classKey, priority } = job;
    const key = JSON.stringify([tenant, classKey, priority]);
    const zero = { tenant, classKey, priority, queued: 0, waiting: 0, oldestAt: 0 };
    const kind = kinds.get(key) ?? zero;
    kinds.set(key, kind);
    if (!isReady(state, job)) kind.waiting++;
    else if (kind.queued++ === 0 || job.submittedAt < kind.oldestAt)
      kind.oldestAt = job.submittedAt;
  }
  return [...kinds.values()];
}

export function countAhead(state: State, id: JobId): number | undefined {
  const job = state.jobs.get(id)?.job;
  if (job === undefined || job.state !== "queued") return undefined;
  const others = [...state.jobs.values()].map((entry) => entry.job);
  return others.filter(
    (other) =>
      other.state === "queued" &&
      other.tenant === job.tenant &&
      other.classKey === job.classKey &&
      byTurn(other, job) < 0,
  ).length;
}

/** Jobs that the worker has now. */
export function jobsOf(state: State, id: WorkerId): JobId[] {
  const jobs = [...state.jobs.values()].map((entry) => entry.job);
  return jobs
    .filter((job) => !isFinal(job.state) && currentAttempt(job)?.workerId === id)
    .map((job) => job.id)
    .sort();
}
