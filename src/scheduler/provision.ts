import type { Failure } from "#job/failure.ts";
import { type JobId, type WorkerId, workerIdOf } from "#job/id.ts";
import {
  type Provider,
  StartError,
  type StartedWorker,
  type WorkerSpec,
} from "#provider/provider.ts";
import type { NewWorker } from "#store/store.ts";
import { parseClassKey } from "#worker/class.ts";
import { createSecret, hashSecret } from "#worker/secret.ts";
import type { Worker } from "#worker/worker.ts";
import { place, type Plan, type Placement, type Snapshot, type WarmWish } from "./place.ts";
import { createHedges } from "./provision-hedge.ts";
import { createIdle } from "./provision-idle.ts";
import { createNotes } from "./provision-notes.ts";
import type { WorkerEnds } from "./reap-end.ts";
import { noteStage, type Parts, textOf } from "./start-parts.ts";
import type { Strategies } from "./strategies.ts";
import { createTasks } from "./tasks.ts";

export interface ProvisionOptions {
  readonly ends: WorkerEnds;
  readonly strategies: Strategies;
  readonly warm: readonly WarmWish[];
  readonly weightOf: (tenant: string) => number;
  readonly serverAddress: () => string;
  readonly serverCa: (() => string) | undefined;
  /** Gives numbers for new workers. */
  readonly nextNumber: (now: number) => number;
  /** Something was marked for removal, or room for another start came free. */
  readonly changed: () => void;
}

/** Starts the workers that demand and the warm pool need, and lets go those that nobody needs. */
export interface Provision extends AsyncDisposable {
  /** Decides once; the starts go on behind it. */
  round(): Promise<Plan>;
  /** Resolves when no decision is under way. */
  finishRound(): Promise<void>;
  /** Whether this server is starting that worker now. */
  isStarting(id: WorkerId): boolean;
  /** Resolves when no start is under way. */
  settled(): Promise<void>;
}

interface Launch {
  readonly record: NewWorker;
  readonly otp: string;
  readonly provider: Provider;
  readonly reason: string;
}

export function createProvision(parts: Parts, options: ProvisionOptions): Provision {
  const { limits } = parts;
  const starts = createTasks({
    limit: limits.maxConcurrentStarts,
    log: parts.log,
    failure: "cannot start a worker",
  });
  const idle = createIdle(parts, options.ends);
  const notes = createNotes(parts);
  const hedges = createHedges(parts);
  let turn = 0;
  let present: Promise<unknown> = Promise.resolve();

  const decide = async (): Promise<Plan> => {
    const snapshot = await takeSnapshot(parts, options, { turn, maxPlans: starts.room });
    const plan = place(snapshot);
    const wishes = [
      ...plan.placements.flatMap((placement) => Array<Wish>(placement.count).fill(placement)),
      ...(await hedges.plan(snapshot, plan)),
    ];
    const launches = wishes.map((wish) => prepare(parts, options, wish));
    turn += launches.length;
    if (launches.length > 0) {
      const planned = await planWorkers(parts, launches);
      // Given to the store before the starts, so that the history keeps its order; waited for beside them.
      const told = tellJobs(parts, planned);
      for (const { worker, launch } of planned) {
        starts.run(worker.id, async (signal) => {
          await startWorker(parts, options, { worker, launch, signal });
          options.changed();
        });
      }
      await told;
    }
    if (await idle.letGo(plan, snapshot.workers)) options.changed();
    await notes.write(plan.unplaced);
    return plan;
  };

  return {
    round() {
      const round = decide();
      present = round.catch(() => undefined);
      return round;
    },
    async finishRound() {
      await present;
    },
    isStarting: (id) => starts.has(id),
    settled: () => starts.settled(),
    [Symbol.asyncDispose]: () => starts[Symbol.asyncDispose](),
  };
}

async function takeSnapshot(
  parts: Parts,
  options: ProvisionOptions,
  { turn, maxPlans }: { readonly turn: number; readonly maxPlans: number },
): Promise<Snapshot> {
  const { store, reuse } = parts;
  const now = parts.now();
  const [demand, workers] = await Promise.all([store.readDemand(now), store.listLiveWorkers()]);
  parts.providers.learn(workers);
  return {
    now,
    demand,
    workers,
    silent: new Set(parts.attempts.listSilent().map(({ workerId }) => workerId)),
    providers: parts.providers.view(),
    warm: options.warm,
    strategies: options.strategies,
    turn,
    limits: {
      maxPlans,
      slots: reuse.slots,
      maxJobs: reuse.maxJobs,
      bindsTenant: reuse.sameTenantOnly && reuse.maxJobs > 1,
      weightOf: options.weightOf,
    },
  };
}

/** One worker to start. */
type Wish = Omit<Placement, "count"> & { readonly forJob?: JobId };

function prepare(parts: Parts, options: ProvisionOptions, wish: Wish): Launch {
  const { limits, reuse, providers } = parts;
  const provider = providers.find(wish.provider);
  if (provider === undefined) throw new Error(`no provider is called ${wish.provider}`);
  const now = parts.now();
  const id = workerIdOf(options.nextNumber(now));
  const otp = createSecret();
  const { classKey, forJob, isWarm } = wish;
  const startDeadline = now + providers.startDeadlineMs(provider.name, parseClassKey(classKey));
  const verdict = wish.verdicts.find((entry) => entry.provider === provider.name);
  return {
    otp,
    provider,
    reason: verdict?.reason ?? "",
    record: {
      id,
      provider: provider.name,
      classKey,
      tenant: wish.tenant,
      resourceName: provider.resourceName(id),
      otpHash: hashSecret(otp),
      otpExpiresAt: startDeadline + limits.otpSlackMs,
      startDeadline,
      slots: reuse.slots,
      maxJobs: reuse.maxJobs,
      isWarm,
      isForJobOnly: provider.capabilities.bindsJob && reuse.maxJobs === 1 && !isWarm,
      pricePerHour: verdict?.pricePerHour ?? 0,
      ...(forJob === undefined ? {} : { forJob }),
    },
  };
}

interface Planned {
  readonly worker: Worker;
  readonly launch: Launch;
}

/** Stores the intents, before any provider is asked. */
async function planWorkers(parts: Parts, launches: readonly Launch[]): Promise<readonly Planned[]> {
  const byId = new Map<WorkerId, Launch>(launches.map((launch) => [launch.record.id, launch]));
  const records = launches.map((launch) => launch.record);
  const workers = await parts.store.planWorkers(records, parts.now());
  for (const { provider } of records) parts.metrics?.workersPlanned(provider, 1);
  return workers.flatMap((worker) => {
    const launch = byId.get(worker.id);
    return launch === undefined ? [] : [{ worker, launch }];
  });
}

async function tellJobs(parts: Parts, planned: readonly Planned[]): Promise<void> {
  const stages = planned.flatMap(({ worker, launch }) => {
    const { forJob: jobId, id: workerId } = worker;
    if (jobId === undefined) return [];
    const { name } = launch.provider;
    return [
      { jobId, workerId, stage: "selecting" as const, message: `chose ${name}: ${launch.reason}` },
      { jobId, workerId, stage: "creating" as const, message: `starts worker ${workerId}` },
    ];
  });
  if (stages.length === 0) return;
  await parts.store.recordStages(stages, parts.now());
  parts.watch.touch(new Set(stages.map((stage) => stage.jobId)));
}

async function startWorker(
  parts: Parts,
  options: ProvisionOptions,
  start: Planned & { readonly signal: AbortSignal },
): Promise<void> {
  const { worker, launch, signal } = start;
  const { record, provider } = launch;
  const leftMs = Math.max(1, record.startDeadline - parts.now());
  let started: StartedWorker;
  try {
    started = await provider.startWorker(
      {
        workerId: worker.id,
        workerClass: parseClassKey(worker.classKey),
        tenant: worker.tenant,
        otp: launch.otp,
        serverAddress: options.serverAddress(),
        serverCa: options.serverCa?.(),
        slots: record.slots,
        ...(await ownOfJob(parts, worker, record)),
        disconnectToleranceMs: parts.limits.disconnectToleranceMs,
      },
      AbortSignal.any([signal, AbortSignal.timeout(leftMs)]),
    );
  } catch (error) {
    // When this server stops, the next one finds the intent and cleans up.
    if (signal.aborted) return;
    if (error instanceof StartError) {
      parts.log.warn({ workerId: worker.id, provider: provider.name, err: error }, "start failed");
      await options.ends.end(worker.id, error.failure);
      return;
    }
    const failure = unknownOutcome(worker, error);
    parts.log.warn({ workerId: worker.id, provider: provider.name, err: error }, failure.message);
    await options.ends.stop(worker.id, failure.message, failure);
    return;
  }
  await parts.store.recordCreated(worker.id, started.uid, parts.now());
  const message = `worker ${worker.id} was created and is to call back`;
  await noteStage(parts, worker, { stage: "connecting", message });
}

/** What the resource takes over from the job that it is for. */
async function ownOfJob(
  parts: Parts,
  { isForJobOnly, forJob, plannedAt }: Worker,
  { startDeadline }: NewWorker,
): Promise<Pick<WorkerSpec, "labels" | "annotations" | "maxLifetimeMs">> {
  const job = isForJobOnly && forJob !== undefined ? await parts.store.findJob(forJob) : undefined;
  if (job === undefined) return { labels: {}, annotations: {}, maxLifetimeMs: undefined };
  const spec = parts.readSpec(job.spec);
  const { limits } = parts;
  const maxLifetimeMs =
    startDeadline -
    plannedAt +
    limits.attemptStartMs +
    spec.executionTimeoutMs +
    spec.cancelGraceMs +
    spec.disconnectToleranceMs +
    spec.holdMs +
    2 * limits.graceMs;
  return { labels: spec.labels, annotations: spec.annotations, maxLifetimeMs };
}

function unknownOutcome(worker: Worker, error: unknown): Failure {
  return {
    stage: "creating",
    cause: "start_failed",
    blame: "provider",
    message: `it is unknown whether worker ${worker.id} was started`,
    userCodeMayHaveRun: false,
    evidence: { provider: worker.provider, resource: worker.resourceName, error: textOf(error) },
  };
}
