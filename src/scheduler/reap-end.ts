import type { Failure } from "#job/failure.ts";
import type { WorkerId } from "#job/id.ts";
import type { Worker } from "#worker/worker.ts";
import { viewClass } from "./place-verdicts.ts";
import { readTail } from "./reap-tail.ts";
import type { Parts } from "./start-parts.ts";

/** The ways in which workers end, the same for every loop. */
export interface WorkerEnds {
  /** Remembers the cause that is known so far, for the end that may come of it. What held up a start means nothing once the worker has called back. */
  blame(worker: Life, failure: Failure): void;
  blameOf(worker: Life): Failure | undefined;
  /** Marks the worker for removal; the reap loop stops it and confirms its end. A cause that is known already stays. */
  stop(id: WorkerId, reason: string, failure?: Failure): Promise<void>;
  /** The worker is certainly gone: ends its attempts, its record, and the job that waited for it if that makes no sense any more. */
  end(id: WorkerId, failure?: Failure): Promise<void>;
  /** Forgets the causes of workers that are over. */
  keepOnly(live: ReadonlySet<WorkerId>): void;
}

type Life = Pick<Worker, "id" | "readyAt">;

/** `ended` is called after each end, since an end frees room. */
export function createWorkerEnds(parts: Parts, ended: () => void): WorkerEnds {
  const { store, now, limits } = parts;
  const causes = new Map<WorkerId, { readonly failure: Failure; readonly isOfStart: boolean }>();
  const blameOf = ({ id, readyAt }: Life): Failure | undefined => {
    const cause = causes.get(id);
    return cause?.isOfStart === true && readyAt !== undefined ? undefined : cause?.failure;
  };
  const ending = new Map<WorkerId, Promise<void>>();
  /** Starts that failed and of which the provider's record knows already. */
  const told = new Set<WorkerId>();
  const blameStart = (worker: Worker, failure: Failure | undefined): void => {
    if (failure === undefined || told.has(worker.id)) return;
    told.add(worker.id);
    parts.metrics?.startFailed(worker.provider, failure.cause);
    parts.providers.startFailed(worker, failure);
  };
  const end = async (id: WorkerId, given: Failure | undefined): Promise<void> => {
    const found = await store.findWorker(id);
    if (found === undefined || found.state === "ended") return;
    const failure = given ?? blameOf(found);
    if (found.readyAt === undefined) blameStart(found, failure);
    const reason = failure?.message ?? "it is gone";
    // So that it is given nothing more while its attempts end, also when it redeems its token in this moment.
    const worker = await store.stopWorker(id, { reason }, now());
    // Once it was given a job, that job may have killed it; whoever submits must not be able to blame a provider.
    const isStart = worker.attempts === 0 || failure?.userCodeMayHaveRun === false;
    const hasFailed = failure !== undefined && isStart;
    if (worker.jobs.length > 0) {
      const tail = failure === undefined ? undefined : await readTail(parts, worker);
      await parts.attempts.loseWorker(worker, failure ?? stopped(worker), tail);
    }
    const expiresAt = now() + limits.workerTtlMs;
    await store.endWorker(id, { failure, expiresAt }, now());
    parts.attempts.forgetWorker(id);
    causes.delete(id);
    parts.metrics?.workerEnded(worker.provider);
    parts.log.info(
      { workerId: id, provider: worker.provider, cause: failure?.cause },
      "worker ended",
    );
    if (hasFailed) blameStart(worker, failure);
    else parts.providers.learnEnd(worker);
    if (failure !== undefined && worker.attempts === 0) await startFailed(parts, worker, failure);
    ended();
  };
  return {
    blame({ id, readyAt }, failure) {
      causes.set(id, { failure, isOfStart: readyAt === undefined });
    },
    blameOf,
    async stop(id, reason, failure) {
      if (failure !== undefined && !causes.has(id)) {
        causes.set(id, { failure, isOfStart: false });
      }
      // Before the next round looks for a worker, and not when this one's leftovers are gone: its job goes to another provider at once.
      const worker = causes.has(id) ? await store.findWorker(id) : undefined;
      const isStart = worker?.state === "planned" || worker?.state === "starting";
      if (worker !== undefined && isStart) blameStart(worker, blameOf(worker));
      await store.stopWorker(id, { reason }, now());
    },
    end(id, given) {
      // An event and a round may find the same end; the first one's cause counts.
      const running = ending.get(id) ?? end(id, given).finally(() => ending.delete(id));
      ending.set(id, running);
      return running;
    },
    keepOnly(live) {
      for (const id of causes.keys()) if (!live.has(id)) causes.delete(id);
      for (const id of told) if (!live.has(id)) told.delete(id);
    },
  };
}

async function startFailed(parts: Parts, worker: Worker, failure: Failure): Promise<void> {
  if (worker.forJob === undefined) return;
  parts.watch.touch([worker.forJob]);
  if (worker.readyAt !== undefined) return;
  const job = await parts.store.findJob(worker.forJob);
  if (job?.state !== "queued") return;
  const { maxInfraRetries, maxImageRetries } = parts.limits;
  const { infraRetries } = job;
  const isImage = failure.stage === "pulling" && infraRetries > maxImageRetries;
  const last =
    isImage && !canGetImage(parts, worker)
      ? failure
      : lastFailure(failure, { infraRetries, maxInfraRetries });
  if (last === undefined) return;
  const expiresAt = parts.now() + parts.limits.jobTtlMs;
  const { id: jobId, version, correlationId } = job;
  const [isMoved] = await parts.store.moveJobs(
    [{ jobId, version, move: "fail", failure: last, next: { kind: "over", expiresAt } }],
    parts.now(),
  );
  if (isMoved !== true) return;
  parts.log.info({ jobId, cause: last.cause, correlationId }, "job failed");
  parts.watch.touch([jobId]);
}

/** Whether somebody else who may be given the class, now or later, has not failed to get its image lately. */
function canGetImage({ providers, now }: Parts, { provider, classKey }: Worker): boolean {
  const { entries } = viewClass(classKey, { providers: providers.view(), now: now() });
  return entries.some(
    (entry) =>
      entry.provider.name !== provider &&
      entry.refusal?.canPass !== false &&
      entry.provider.pauses.get(classKey)?.isForImage !== true,
  );
}

/** What a failed start means for the job that waits for it; undefined: it is tried again. */
function lastFailure(
  failure: Failure,
  retries: { readonly infraRetries: number; readonly maxInfraRetries: number },
): Failure | undefined {
  if (failure.blame === "user") return failure;
  if (retries.infraRetries <= retries.maxInfraRetries) return undefined;
  return {
    ...failure,
    cause: "too_many_retries",
    message: `gave up after ${retries.infraRetries} workers failed; the last one: ${failure.message}`,
    evidence: { ...failure.evidence, last_cause: failure.cause },
  };
}

function stopped(worker: Worker): Failure {
  const reason = worker.reason === "" ? "nobody said why" : worker.reason;
  return {
    stage: "running",
    cause: "worker_stopped",
    blame: "system",
    message: `worker ${worker.id} was stopped: ${reason}`,
    userCodeMayHaveRun: true,
    evidence: { worker: worker.id, provider: worker.provider, reason },
  };
}
