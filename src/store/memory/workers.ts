import { HodeiError } from "#error.ts";
import { isWorkerId, type JobId, type WorkerId } from "#job/id.ts";
import type { Job } from "#job/job.ts";
import type {
  NewWorker,
  Page,
  RedeemClaim,
  RedeemOutcome,
  WorkerEnd,
  WorkerQuery,
} from "#store/store.ts";
import { isSameHash } from "#worker/secret.ts";
import { isExpected, workerMoves, type Worker, type WorkerMove } from "#worker/worker.ts";
import { jobsOf } from "./dispatch.ts";
import { cut } from "./page.ts";
import { listReady, promote } from "./shares.ts";
import { appendEvent, type State, type WorkerEntry } from "./state.ts";

export function planWorker(state: State, given: NewWorker, now: number): Worker {
  promote(state, now);
  const { otpHash, otpExpiresAt, isWarm, ...rest } = given;
  const worker: Omit<Worker, "jobs"> = {
    ...rest,
    pricePerHour: rest.pricePerHour ?? 0,
    state: "planned",
    forJob: isWarm ? undefined : (given.forJob ?? firstUnplanned(state, given)),
    resourceUid: undefined,
    attempts: 0,
    plannedAt: now,
    readyAt: undefined,
    endedAt: undefined,
    failure: undefined,
    reason: "",
    hostname: "",
    connection: 0,
    expiresAt: undefined,
  };
  const entry = { worker, otpHash, otpExpiresAt, sessionHash: undefined };
  state.workers.set(given.id, entry);
  return show(state, entry);
}

/** The job that would be claimed first of those without a starting worker of their own. */
function firstUnplanned(state: State, given: NewWorker): JobId | undefined {
  const planned = new Set<JobId | undefined>();
  for (const { worker } of state.workers.values()) {
    if (isExpected(worker)) planned.add(worker.forJob);
  }
  const turns = listTurns(state, given.classKey).filter(
    ({ job }) =>
      !planned.has(job.id) && (given.tenant === undefined || job.tenant === given.tenant),
  );
  return turns[0]?.job.id;
}

/** The class's jobs in the order in which they would be claimed. */
function listTurns(state: State, classKey: string): { job: Job; turn: number }[] {
  const taken = new Map<string, number>();
  const turns = listReady(state, classKey).map((job) => {
    const start = state.shares.get(classKey)?.get(job.tenant)?.start ?? 0;
    const place = taken.get(job.tenant) ?? 0;
    taken.set(job.tenant, place + 1);
    return { job, turn: start + place * (1 / state.weightOf(job.tenant)) };
  });
  const byName = (one: string, other: string) => (one === other ? 0 : one < other ? -1 : 1);
  return turns.sort(
    (one, other) => one.turn - other.turn || byName(one.job.tenant, other.job.tenant),
  );
}

export function show(state: State, { worker }: WorkerEntry): Worker {
  return { ...worker, jobs: jobsOf(state, worker.id) };
}

/** Makes the move if the worker's state has it. */
export function moveWorker(entry: WorkerEntry, move: WorkerMove, set: Partial<Worker>): void {
  const { from, to } = workerMoves[move];
  if (from.includes(entry.worker.state)) entry.worker = { ...entry.worker, ...set, state: to };
}

export function getWorker(state: State, id: WorkerId): WorkerEntry {
  const entry = state.workers.get(id);
  if (entry === undefined) throw new HodeiError("not_found", `worker ${id} is not known`);
  return entry;
}

export function redeem(
  state: State,
  request: { id: WorkerId } & RedeemClaim,
  now: number,
): RedeemOutcome {
  const entry = state.workers.get(request.id);
  if (entry === undefined) return { kind: "refused", reason: "unknown_worker" };
  const { worker } = entry;
  if (worker.state === "ended") return { kind: "refused", reason: "over" };
  if (request.otpHash !== "attested" && !isSameHash(entry.otpHash, request.otpHash)) {
    return { kind: "refused", reason: "wrong_token" };
  }
  if (entry.sessionHash !== undefined) {
    return isSameHash(entry.sessionHash, request.sessionHash)
      ? { kind: "ok", isRepeat: true }
      : { kind: "refused", reason: "already_redeemed" };
  }
  if (!workerMoves.redeem.from.includes(worker.state)) return { kind: "refused", reason: "over" };
  if (now > entry.otpExpiresAt) return { kind: "refused", reason: "expired" };
  entry.sessionHash = request.sessionHash;
  moveWorker(entry, "redeem", { readyAt: now, startDeadline: undefined });
  return { kind: "ok", isRepeat: false };
}

export function listWorkers(state: State, query: WorkerQuery): Page<Worker> {
  const fits = (worker: Worker) =>
    (query.states.length === 0 ? worker.state !== "ended" : query.states.includes(worker.state)) &&
    (query.provider === undefined || worker.provider === query.provider) &&
    (query.tenant === undefined || worker.tenant === query.tenant);
  const workers = [...state.workers.values()].map((entry) => show(state, entry)).filter(fits);
  workers.sort((one, other) => (one.id < other.id ? 1 : -1));
  const isAfter = (worker: Worker, token: string) => worker.id < token;
  return cut(workers, query, { isToken: isWorkerId, isAfter, tokenOf: (worker) => worker.id });
}

export function endWorker(
  state: State,
  request: { id: WorkerId } & WorkerEnd,
  now: number,
): Worker | undefined {
  const entry = state.workers.get(request.id);
  if (entry === undefined) return undefined;
  const { worker } = entry;
  if (worker.state === "ended") return show(state, entry);
  const { failure, expiresAt } = request;
  moveWorker(entry, "end", { endedAt: now, failure, expiresAt, startDeadline: undefined });
  entry.sessionHash = undefined;
  const forJob = worker.forJob === undefined ? undefined : state.jobs.get(worker.forJob);
  if (failure !== undefined && worker.readyAt === undefined && forJob?.job.state === "queued") {
    const { stage, message } = failure;
    forJob.job = { ...forJob.job, infraRetries: forJob.job.infraRetries + 1 };
    const event = { at: now, stage, attempt: 0, workerId: worker.id, message, failure };
    appendEvent(state, forJob, event);
  }
  return show(state, entry);
}
