import type { Failure } from "#job/failure.ts";
import type { WorkerId } from "#job/id.ts";
import type { Worker } from "#worker/worker.ts";
import type { WorkerEnds } from "./reap-end.ts";
import { createLists } from "./reap-lists.ts";
import { createSilence } from "./reap-silence.ts";
import { type Parts, textOf } from "./start-parts.ts";
import type { ClockGuard } from "./sweep-clock.ts";
import { createTasks, type Tasks } from "./tasks.ts";

export interface ReapOptions {
  readonly ends: WorkerEnds;
  readonly clock: ClockGuard;
  readonly isStarting: (id: WorkerId) => boolean;
  /** There is room again for what the last round could not begin. */
  readonly changed: () => void;
}

/** Ends workers that did not start, fell silent, are done, or are to be removed; and what nobody knows of. */
export interface Reap extends AsyncDisposable {
  /** Looks at every live worker once; what takes longer goes on behind it. */
  round(): Promise<void>;
  /** Asks the providers what they run; two rounds find an orphan. */
  listRound(): Promise<void>;
  /** Starts that the last server left unfinished are never resumed, since their tokens are gone (DESIGN G12). */
  repair(): Promise<void>;
  settled(): Promise<void>;
}

export function createReap(parts: Parts, options: ReapOptions): Reap {
  const { ends } = options;
  const tasks = createTasks({
    limit: parts.limits.maxConcurrentStops,
    log: parts.log,
    failure: "cannot end a worker",
  });
  const silence = createSilence(parts, ends);
  const lists = createLists(parts, { ...options, tasks });
  const removals = createRemovals(parts, ends);
  const doneSince = new Map<WorkerId, number>();
  const begin = createBegin(tasks, options.changed);

  const look = async (worker: Worker, silentMs: number | undefined): Promise<void> => {
    switch (worker.state) {
      case "planned":
      case "starting":
        if (isLate(parts, options.clock, worker)) {
          const failure = ends.blameOf(worker) ?? startTimeout(parts, worker);
          await ends.stop(worker.id, failure.message, failure);
        } else if (await isMissed(parts, worker)) await letGo(worker);
        return;
      case "ready":
      case "draining":
        if (silentMs !== undefined) {
          begin(worker.id, () => silence.judge(worker.id, silentMs));
        }
        if (isDone(worker)) await leave(worker);
        else if (await isMissed(parts, worker)) await letGo(worker);
        return;
      case "stopping":
        if (removals.isTime(worker.id)) begin(worker.id, () => removals.remove(worker));
        return;
      case "ended":
    }
  };

  const letGo = (worker: Worker) => ends.stop(worker.id, "its job needs it no more");

  const leave = async (worker: Worker): Promise<void> => {
    const at = parts.monotonic();
    const since = doneSince.get(worker.id) ?? at;
    doneSince.set(worker.id, since);
    if (at - since >= parts.limits.leaveGraceMs && !(await isHeld(parts, worker))) {
      await ends.stop(worker.id, worker.reason === "" ? "it is done" : worker.reason);
    }
  };

  return {
    async round() {
      options.clock.check();
      const workers = await parts.store.listLiveWorkers();
      const live = new Set(workers.map((worker) => worker.id));
      ends.keepOnly(live);
      removals.keepOnly(live);
      for (const id of doneSince.keys()) if (!live.has(id)) doneSince.delete(id);
      const silent = new Map(
        parts.attempts.listSilent().map(({ workerId, silentMs }) => [workerId, silentMs]),
      );
      for (const worker of workers) await look(worker, silent.get(worker.id));
    },
    listRound: () => lists.round(),
    async repair() {
      for (const worker of await parts.store.listLiveWorkers()) {
        if (worker.state !== "planned" || options.isStarting(worker.id)) continue;
        const failure = interrupted(worker);
        await ends.stop(worker.id, failure.message, failure);
      }
    },
    settled: () => tasks.settled(),
    [Symbol.asyncDispose]: () => tasks[Symbol.asyncDispose](),
  };
}

/** Begins a worker's task; what found no room is looked at again as soon as there is some. */
function createBegin(tasks: Tasks, changed: () => void) {
  let isBehind = false;
  return (id: WorkerId, task: () => Promise<void>): void => {
    if (tasks.has(id)) return;
    const hasBegun = tasks.run(id, async () => {
      await task();
      if (!isBehind) return;
      isBehind = false;
      changed();
    });
    isBehind ||= !hasBegun;
  };
}

/** Has no job and will get none. */
function isDone(worker: Worker): boolean {
  if (worker.jobs.length > 0) return false;
  return worker.state === "draining" || worker.attempts >= worker.maxJobs;
}

/** Kept to be looked at, since its job wished that and failed. When that ends follows from what is stored (DESIGN G12). */
async function isHeld(parts: Parts, worker: Worker): Promise<boolean> {
  const { id, maxJobs, forJob, attempts } = worker;
  if (maxJobs !== 1 || forJob === undefined || attempts === 0) return false;
  const job = await parts.store.findJob(forJob);
  const attempt = job?.attempts.find(({ workerId }) => workerId === id);
  if (job === undefined || attempt?.failure === undefined) return false;
  const { holdMs } = parts.readSpec(job.spec);
  return parts.now() < (attempt.endedAt ?? 0) + holdMs;
}

/** Waits for a job of its own that was cancelled or went to another worker; it may run no other one. */
async function isMissed(parts: Parts, worker: Worker): Promise<boolean> {
  const { isForJobOnly, forJob, attempts } = worker;
  if (!isForJobOnly || forJob === undefined || attempts > 0) return false;
  const job = await parts.store.findJob(forJob);
  // It may have been given its job since the round began.
  return job?.state !== "queued" && job?.attempts.at(-1)?.workerId !== worker.id;
}

function isLate(parts: Parts, clock: ClockGuard, worker: Worker): boolean {
  const { startDeadline, plannedAt } = worker;
  if (startDeadline === undefined) return false;
  return parts.now() > startDeadline + clock.jumpedSince(plannedAt);
}

/** Stops workers until their end is confirmed; what fails is tried again after a pause that grows. */
function createRemovals(parts: Parts, ends: WorkerEnds) {
  const tries = new Map<WorkerId, { readonly count: number; readonly nextAt: number }>();
  const { limits, monotonic } = parts;
  return {
    isTime: (id: WorkerId) => (tries.get(id)?.nextAt ?? 0) <= monotonic(),
    keepOnly(live: ReadonlySet<WorkerId>) {
      for (const id of tries.keys()) if (!live.has(id)) tries.delete(id);
    },
    async remove(worker: Worker): Promise<void> {
      const count = (tries.get(worker.id)?.count ?? 0) + 1;
      const pauseMs = Math.min(10_000, limits.reapIntervalMs * 2 ** Math.min(count, 10));
      tries.set(worker.id, { count, nextAt: monotonic() + pauseMs });
      if (await isRemoved(parts, worker)) await ends.end(worker.id);
    },
  };
}

async function isRemoved(parts: Parts, worker: Worker): Promise<boolean> {
  const provider = parts.providers.find(worker.provider);
  // Nobody can be asked any more: the agent's own tolerance has ended it by now.
  if (provider === undefined) {
    const { disconnectToleranceMs, graceMs } = parts.limits;
    return parts.now() > worker.plannedAt + disconnectToleranceMs + graceMs;
  }
  try {
    await provider.stopWorker(worker.id, parts.limits.stopGraceMs);
    if (worker.resourceUid !== undefined) {
      return (await provider.confirmDead(worker.id, worker.resourceUid)) === "dead";
    }
    const listed = await provider.listWorkers();
    return !listed.some((entry) => entry.id === worker.id && entry.isRunning);
  } catch (error) {
    const { id: workerId } = worker;
    parts.log.warn({ workerId, provider: provider.name, err: textOf(error) }, "cannot stop worker");
    return false;
  }
}

function startTimeout(parts: Parts, worker: Worker): Failure {
  const { startDeadline, plannedAt } = worker;
  const seconds = Math.round(((startDeadline ?? parts.now()) - plannedAt) / 1000);
  return {
    stage: worker.state === "planned" ? "creating" : "connecting",
    cause: "start_timeout",
    blame: "provider",
    message: `worker ${worker.id} did not call back within ${seconds} s`,
    userCodeMayHaveRun: false,
    evidence: {
      worker: worker.id,
      provider: worker.provider,
      resource: worker.resourceName,
      uid: worker.resourceUid ?? "",
    },
  };
}

function interrupted(worker: Worker): Failure {
  return {
    stage: "creating",
    cause: "start_failed",
    blame: "system",
    message: `the server was restarted while it started worker ${worker.id}`,
    userCodeMayHaveRun: false,
    evidence: { worker: worker.id, provider: worker.provider, resource: worker.resourceName },
  };
}
