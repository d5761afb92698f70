import type { JobId, WorkerId } from "#job/id.ts";
import type { Job } from "#job/job.ts";
import { HodeiError } from "#error.ts";
import { every } from "#every.ts";
import type { Worker } from "#worker/worker.ts";
import { startAttempts } from "./attempts.ts";
import type { AttemptLimits } from "./attempts-side.ts";
import { followChange, holdDuties } from "./duties.ts";
import { explain, explainWish } from "./explain.ts";
import { createJobWatch } from "./job-watch.ts";
import { createMemory } from "./providers-remembered.ts";
import { createProviders } from "./providers.ts";
import type { Scheduler } from "./scheduler.ts";
import { manageProviders } from "./start-providers.ts";
import type { Duties } from "./start-loops.ts";
import type { SchedulerOptions } from "./start-options.ts";
import type { Parts } from "./start-parts.ts";
import { createStrategies } from "./strategies.ts";

/** Starts everything that decides. Disposing stops deciding; what runs goes on without it. */
export async function startScheduler(options: SchedulerOptions): Promise<Scheduler> {
  await using stack = new AsyncDisposableStack(); // Undoes a start that fails halfway.
  const { store, log, limits, serverAddress, serverCa, warm, replica } = options;
  const strategies = options.strategies ?? createStrategies();
  const weightOf = options.weightOf ?? (() => 1);
  let left = (): void => undefined;
  const parts = createParts(options, () => left());
  const { attempts, providers, watch } = parts;
  stack.use(attempts);
  const memory = createMemory(parts);
  await memory.recall();
  // The duties ask by themselves; on a shared store they may be another's, or begin later.
  if (store.replicas !== undefined) await providers.refresh();
  const deciding = { strategies, weightOf, warm, serverAddress, serverCa, replica };
  const duties = stack.use(
    await holdDuties(parts, deciding, (isLeading) => {
      attempts.lead(isLeading);
      options.onLead?.(isLeading);
    }),
  );
  left = () => duties.wakeReap();
  const onError = (err: unknown): void => log.error({ err, loop: "health" }, "round failed");
  // Who leads asks the providers and learns from them; the others look at what it knows.
  const lookAround = () => (duties.isLeading ? providers.refresh() : memory.recall());
  stack.use(every({ intervalMs: limits.healthIntervalMs, onError }, lookAround));
  const following = await store.follow?.((change) => {
    followChange(parts, duties, change);
    if (change.kind === "provider" || change.kind === "missed") options.onProviderChange?.();
  });
  if (following !== undefined) stack.use(following);
  const owned = stack.move();
  return {
    attempts,
    watch,
    get isLeading() {
      return duties.isLeading;
    },
    get replicas() {
      return duties.replicas;
    },
    jobsArrived(classKeys) {
      attempts.wake(classKeys);
      duties.wakeProvision();
    },
    cancelJob: (id, cancel) => cancelJob(parts, duties, { id, ...cancel }),
    explainJob: (job) => explain(parts, { strategies, weightOf }, job),
    explainWish: (wish) => explainWish(parts, { strategies, weightOf }, wish),
    ...endWorkers(parts, duties),
    ...manageProviders(parts, duties),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** `onLeave`: a worker has left. */
function createParts(options: SchedulerOptions, onLeave: () => void): Parts {
  const { store, logStore, readSpec, log, limits, reuse, metrics, settings } = options;
  const now = options.now ?? Date.now;
  const monotonic = options.monotonic ?? (() => performance.now());
  const random = options.random ?? Math.random;
  const watch = createJobWatch({ store });
  const attempts = startAttempts({
    store,
    logStore,
    watch,
    readSpec,
    log,
    now,
    monotonic,
    random,
    limits: attemptLimitsOf(options),
    count: (what) => metrics?.attemptCounted(what),
    onLeave,
  });
  const keeping = { limits, now, random, log, metrics, onChange: options.onProviderEvent };
  const providers = createProviders({ ...keeping, providers: options.providers, settings });
  return {
    store,
    logStore,
    providers,
    attempts,
    watch,
    readSpec,
    log,
    metrics,
    limits,
    reuse,
    now,
    monotonic,
    random,
  };
}

/** A worker for one job alone may as well be its tenant's, so that it counts for its tenant's share. */
function attemptLimitsOf(options: SchedulerOptions): Partial<AttemptLimits> {
  const { suspectMs, graceMs, maxInfraRetries, jobTtlMs, attemptStartMs } = options.limits;
  const bindsTenant = options.reuse.sameTenantOnly || options.reuse.maxJobs === 1;
  return { suspectMs, graceMs, maxInfraRetries, jobTtlMs, startMs: attemptStartMs, bindsTenant };
}

export async function cancelJob(
  parts: Parts,
  loops: Pick<Duties, "wakeProvision">,
  cancel: { readonly id: JobId; readonly reason: string; readonly actor: string },
): Promise<Job> {
  const { store, limits, now } = parts;
  const { id, reason, actor } = cancel;
  const before = await store.findJob(id);
  if (before === undefined) throw new HodeiError("not_found", `job ${id} does not exist`);
  const { cancelGraceMs } = parts.readSpec(before.spec);
  const deadline = now() + cancelGraceMs + limits.cancelSlackMs;
  const expiresAt = now() + limits.jobTtlMs;
  const job = await store.cancelJob(id, { reason, actor, deadline, expiresAt }, now());
  parts.watch.touch([id]);
  const { state, correlationId } = job;
  parts.log.info({ jobId: id, state, correlationId }, "job cancelled");
  if (job.state === "cancelling") parts.attempts.signalCancel(job, reason);
  // A worker that was started for it may not be needed any more.
  else loops.wakeProvision();
  return job;
}

function endWorkers(
  parts: Parts,
  loops: Pick<Duties, "wakeReap">,
): Pick<Scheduler, "drainWorker" | "terminateWorker"> {
  return {
    drainWorker: (id, reason) => drainWorker(parts, loops, { id, reason }),
    async terminateWorker(id, reason) {
      const worker = await parts.store.stopWorker(id, { reason }, parts.now());
      loops.wakeReap();
      return worker;
    },
  };
}

/** A worker that is not ready has nothing to finish, so draining it is stopping it. */
export async function drainWorker(
  parts: Parts,
  loops: Pick<Duties, "wakeReap">,
  drain: { readonly id: WorkerId; readonly reason: string },
): Promise<Worker> {
  const { store, now } = parts;
  const { id, reason } = drain;
  const before = await store.findWorker(id);
  if (before?.state === "planned" || before?.state === "starting") {
    const worker = await store.stopWorker(id, { reason }, now());
    loops.wakeReap();
    return worker;
  }
  const worker = await store.drainWorker(id, reason, now());
  parts.attempts.signalDrain(id, reason);
  return worker;
}
