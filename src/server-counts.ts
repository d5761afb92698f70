import { HodeiError } from "#error.ts";
import { type AttemptId, type JobId, numberOf, timeOfNumber, type WorkerId } from "#job/id.ts";
import type { Job } from "#job/job.ts";
import { isFinal } from "#job/state.ts";
import type { LogStore } from "#logstore/logstore.ts";
import type { JobEndFacts } from "#metrics-jobs.ts";
import type { Metrics } from "#metrics.ts";
import type { AttemptFinish, Finished, Store, VersionedMove } from "#store/store.ts";
import type { Worker } from "#worker/worker.ts";

/** The same store, counting the jobs that end in it, the workers that become ready, and how long its steps take. */
export function countStore(store: Store, metrics: Metrics): Store {
  return counted(store, new JobEnds(store, metrics), metrics);
}

function counted(store: Store, ends: JobEnds, metrics: Metrics): Store {
  const { replicas } = store;
  const timed = <Result>(step: string, run: () => Promise<Result>): Promise<Result> =>
    timeStep(metrics, step, run);
  return {
    ...store,
    // What a leader does counts as well.
    ...(replicas && {
      replicas: { ...replicas, ledBy: (term) => counted(replicas.ledBy(term), ends, metrics) },
    }),
    submitJobs: (jobs, now, audit) =>
      timed("submit_jobs", () => store.submitJobs(jobs, now, audit)),
    startAttempts: (starts, now) => timed("start_attempts", () => store.startAttempts(starts, now)),
    async claimNext(id, claim, now) {
      const assignments = await timed("claim_next", () => store.claimNext(id, claim, now));
      ends.claimed(
        id,
        assignments.map(({ attemptId }) => attemptId),
      );
      return assignments;
    },
    async finishAttempts(finishes, now) {
      const answers = await timed("finish_attempts", () => store.finishAttempts(finishes, now));
      finishes.forEach((finish, at) => ends.finished(finish, answers[at]));
      return answers;
    },
    async moveJobs(moves, now) {
      const answers = await timed("move_jobs", () => store.moveJobs(moves, now));
      moves.forEach((move, at) => answers[at] === true && ends.moved(move));
      return answers;
    },
    async cancelJob(id, cancel, now) {
      const job = await timed("cancel_job", () => store.cancelJob(id, cancel, now));
      if (job.state === "cancelled") ends.over(job);
      return job;
    },
    async planWorkers(workers, now) {
      const planned = await timed("plan_workers", () => store.planWorkers(workers, now));
      for (const worker of planned) ends.know(worker);
      return planned;
    },
    async redeem(id, claim, now) {
      const outcome = await timed("redeem", () => store.redeem(id, claim, now));
      if (outcome.kind === "ok" && !outcome.isRepeat) {
        countReady(store, metrics, id).catch(() => undefined);
      }
      return outcome;
    },
    async listLiveWorkers() {
      const workers = await store.listLiveWorkers();
      for (const worker of workers) ends.know(worker);
      return workers;
    },
    async endWorker(id, end, now) {
      const worker = await timed("end_worker", () => store.endWorker(id, end, now));
      ends.forget(id);
      return worker;
    },
  };
}

/** The same log store, counting what comes in. */
export function countLogs(logs: LogStore, metrics: Metrics): LogStore {
  return {
    async append(attempt, batch) {
      const { length } = batch.bytes;
      try {
        await logs.append(attempt, batch);
      } catch (error) {
        metrics.logRefused(error instanceof HodeiError ? error.code : "internal");
        throw error;
      }
      metrics.logAppended(length);
    },
    async end(attempt, end) {
      await logs.end(attempt, end);
      if (end.missing !== undefined) metrics.logCut(end.missing);
    },
    findLog: (attempt) => logs.findLog(attempt),
    read: (attempt, options) => logs.read(attempt, options),
    expire: (now) => logs.expire(now),
    stats: () => logs.stats(),
    [Symbol.asyncDispose]: () => logs[Symbol.asyncDispose](),
  };
}

/** Knows what the store's answers leave out: on which providers attempts run, and what became of a job that was being cancelled. */
class JobEnds {
  readonly #store: Store;
  readonly #metrics: Metrics;
  /** Of live workers. */
  readonly #providers = new Map<WorkerId, string>();
  /** Of attempts that are not over, as far as this process has seen them begin. */
  readonly #attempts = new Map<AttemptId, string>();

  constructor(store: Store, metrics: Metrics) {
    this.#store = store;
    this.#metrics = metrics;
  }

  know({ id, provider }: Pick<Worker, "id" | "provider">): void {
    this.#providers.set(id, provider);
  }

  forget(id: WorkerId): void {
    this.#providers.delete(id);
  }

  claimed(workerId: WorkerId, attempts: readonly AttemptId[]): void {
    const provider = this.#providers.get(workerId);
    if (provider === undefined) return;
    for (const id of attempts) this.#attempts.set(id, provider);
  }

  finished({ jobId, attemptId, move, outcome }: AttemptFinish, answer: Finished | undefined): void {
    const provider = this.#attempts.get(attemptId);
    this.#attempts.delete(attemptId);
    if (answer !== "ok") return;
    if (move !== "succeed" || provider === undefined) {
      this.#look(jobId);
      return;
    }
    const { startedAt, endedAt } = outcome;
    const submittedAt = timeOfNumber(numberOf(jobId));
    const end: JobEndFacts = {
      state: "succeeded",
      cause: undefined,
      provider,
      submittedAt,
      startedAt,
      endedAt,
    };
    this.#metrics.jobEnded(end);
  }

  moved({ jobId }: VersionedMove): void {
    this.#look(jobId);
  }

  over(job: Job): void {
    const { state, failure, submittedAt, endedAt = job.stateAt } = job;
    if (!isOver(state)) return;
    const attempt = job.attempts.at(-1);
    const cause = failure?.cause;
    const { provider, startedAt } = attempt ?? {};
    this.#metrics.jobEnded({ state, cause, provider, submittedAt, startedAt, endedAt });
  }

  #look(id: JobId): void {
    this.#store
      .findJob(id)
      .then((job) => {
        if (job === undefined) return;
        const attempt = job.attempts.at(-1);
        if (attempt?.state === "ended") this.#attempts.delete(attempt.id);
        if (isFinal(job.state)) this.over(job);
        else this.#metrics.jobRequeued();
      })
      // A store that fails says so elsewhere; one job is not counted then.
      .catch(() => undefined);
  }
}

function isOver(state: Job["state"]): state is JobEndFacts["state"] {
  return isFinal(state);
}

async function countReady(store: Store, metrics: Metrics, id: WorkerId): Promise<void> {
  const worker = await store.findWorker(id);
  if (worker?.readyAt === undefined) return;
  metrics.workerReady(worker.provider, Math.max(0, worker.readyAt - worker.plannedAt) / 1_000);
}

async function timeStep<Result>(
  metrics: Metrics,
  step: string,
  run: () => Promise<Result>,
): Promise<Result> {
  const startedAt = performance.now();
  try {
    const result = await run();
    metrics.storeStepEnded(step, (performance.now() - startedAt) / 1_000);
    return result;
  } catch (error) {
    // What was asked for and cannot be is no fault of the store.
    const isFault = !(error instanceof HodeiError) || faults.has(error.code);
    if (isFault) metrics.storeStepFailed(step);
    throw error;
  }
}

const faults: ReadonlySet<string> = new Set(["unavailable", "resource_exhausted", "data_loss"]);
