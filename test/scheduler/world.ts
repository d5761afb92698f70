import type { Failure } from "#job/failure.ts";
import { attemptIdOf, type AttemptId, type JobId, type WorkerId } from "#job/id.ts";
import type { Job, JobSpec } from "#job/job.ts";
import type { LogEnd, LogStore } from "#logstore/logstore.ts";
import type { WarmWish } from "#scheduler/place.ts";
import { createProviders } from "#scheduler/providers.ts";
import type { JobWatch } from "#scheduler/scheduler.ts";
import { createRounds } from "#scheduler/start-loops.ts";
import {
  defaultLimits,
  defaultReuse,
  type SchedulerLimits,
  type WorkerReuse,
} from "#scheduler/start-options.ts";
import type { Parts } from "#scheduler/start-parts.ts";
import { createStrategies, type StrategiesOptions } from "#scheduler/strategies.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import { createLogger } from "#telemetry.ts";
import { classKeyOf, classOf } from "#worker/class.ts";
import { hashSecret } from "#worker/secret.ts";
import { ScriptedProvider } from "../fake/provider.ts";
import { ScriptedAttempts } from "./scripted-attempts.ts";

export const spec: JobSpec = {
  name: "job",
  command: ["true"],
  script: undefined,
  env: {},
  workingDirectory: "",
  stdin: new Uint8Array(),
  labels: {},
  annotations: {},
  resources: { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" },
  image: "",
  priority: 0,
  queueTimeoutMs: 3_600_000,
  executionTimeoutMs: 60_000,
  cancelGraceMs: 30_000,
  disconnectToleranceMs: 600_000,
  reschedule: "after_loss",
  logTtlMs: 1_000,
  holdMs: 0,
  retry: {
    maxAttempts: 1,
    initialBackoffMs: 0,
    maxBackoffMs: 0,
    multiplier: 1,
    retryableExitCodes: [],
    retryLost: false,
  },
  provider: undefined,
};

export interface WorldOptions {
  readonly providers?: readonly ScriptedProvider[];
  readonly reuse?: Partial<WorkerReuse>;
  readonly warm?: readonly WarmWish[];
  readonly store?: ReturnType<typeof openMemoryStore>;
  readonly maxInfraRetries?: number;
  readonly limits?: Partial<SchedulerLimits>;
  readonly strategies?: StrategiesOptions;
  /** What the wall clock says when the server starts. */
  readonly wall?: number;
}

/** The loops over a memory store and scripted providers, with a clock that moves when told. Agents are played by the test. */
export async function createWorld(options: WorldOptions = {}) {
  const clock = { wall: options.wall ?? Date.UTC(2026, 0, 1), steady: 1_000 };
  const now = () => clock.wall;
  const monotonic = () => clock.steady;
  const limits = {
    ...defaultLimits,
    maxInfraRetries: options.maxInfraRetries ?? defaultLimits.maxInfraRetries,
    tailWaitMs: 20,
    ...options.limits,
  };
  const all = options.providers ?? [new ScriptedProvider()];
  const provider = all[0] ?? new ScriptedProvider();
  const store = options.store ?? openMemoryStore();
  const random = () => 0;
  const providers = createProviders({
    providers: all,
    limits,
    now,
    random,
  });
  await providers.refresh();
  const readSpec = (bytes: Uint8Array): JobSpec => ({
    ...spec,
    ...(JSON.parse(new TextDecoder().decode(bytes)) as Partial<JobSpec>),
  });
  const attempts = new ScriptedAttempts(store, now, readSpec);
  const ended = new Map<AttemptId, LogEnd>();
  const logStore: LogStore = {
    append: async () => undefined,
    findLog: async () => undefined,
    end: async (attempt, end) => void ended.set(attempt, end),
    read: async function* () {},
    expire: async () => 0,
    stats: () => ({ openLogs: 0, storedBytes: 0, isWritable: true }),
    [Symbol.asyncDispose]: async () => undefined,
  };
  const watch: JobWatch = { touch: () => undefined, follow: async function* () {} };
  const lines: Record<string, unknown>[] = [];
  const write = (line: string): void =>
    void lines.push(JSON.parse(line) as Record<string, unknown>);
  const parts: Parts = {
    store,
    logStore,
    providers,
    attempts,
    watch,
    readSpec,
    log: createLogger("info", { write }),
    metrics: undefined,
    limits,
    reuse: { ...defaultReuse, ...options.reuse },
    now,
    monotonic,
    random,
  };
  const rounds = await createRounds(parts, {
    strategies: createStrategies(options.strategies),
    weightOf: () => 1,
    warm: options.warm ?? [],
    serverAddress: () => "127.0.0.1:50051",
  });
  let claims = 0;

  const world = {
    provider,
    store,
    attempts,
    parts,
    rounds,
    ended,
    clock,
    /** What the server has logged. */
    lines,
    /** Both clocks. */
    pass(ms: number): void {
      clock.wall += ms;
      clock.steady += ms;
    },
    async submit(wish: Partial<JobSpec> & { readonly tenant?: string } = {}): Promise<JobId> {
      const { tenant, ...own } = wish;
      const full = { ...spec, ...own };
      const [outcome] = await store.submitJobs(
        [
          {
            tenant: tenant ?? "a",
            spec: new TextEncoder().encode(JSON.stringify(own)),
            name: full.name,
            labels: {},
            classKey: classKeyOf(classOf(full)),
            priority: full.priority,
            deadline: now() + full.queueTimeoutMs,
            correlationId: "test",
            actor: "test",
            idempotency: undefined,
            maxQueued: 1_000_000,
          },
        ],
        now(),
      );
      if (outcome?.kind !== "accepted") throw new Error("not accepted");
      return outcome.id;
    },
    async job(id: JobId): Promise<Job> {
      const job = await store.findJob(id);
      if (job === undefined) throw new Error(`${id} is not there`);
      return job;
    },
    /** Decides, and waits for the starts. */
    async provision() {
      const plan = await rounds.provision.round();
      await rounds.provision.settled();
      return plan;
    },
    async reap(): Promise<void> {
      await rounds.reap.round();
      await rounds.reap.settled();
    },
    async list(): Promise<void> {
      await rounds.reap.listRound();
      await rounds.reap.settled();
    },
    /** The agent of the newest started worker dials back. */
    async redeem(id?: WorkerId): Promise<WorkerId> {
      const started = all
        .flatMap((entry) => entry.started)
        .findLast((entry) => id === undefined || entry.workerId === id);
      if (started === undefined) throw new Error("nothing was started");
      const claim = { otpHash: hashSecret(started.otp), sessionHash: hashSecret("session") };
      const outcome = await store.redeem(started.workerId, claim, now());
      if (outcome.kind !== "ok") throw new Error(outcome.reason);
      return started.workerId;
    },
    async claim(workerId: WorkerId, count = 1) {
      const attemptIds = Array.from({ length: count }, () => {
        claims += 1;
        return attemptIdOf(Uint8Array.from({ length: 17 }, (_, at) => claims + at));
      });
      const deadline = now() + 60_000;
      return store.claimNext(workerId, { count, attemptIds, deadline, bindsTenant: true }, now());
    },
    /** A job that has been given to a worker of its own. */
    async assign(wish: Partial<JobSpec> = {}) {
      const jobId = await world.submit(wish);
      await world.provision();
      const workerId = await world.redeem();
      const [assignment] = await world.claim(workerId);
      if (assignment?.jobId !== jobId) throw new Error("another job was assigned");
      return { jobId, workerId, attemptId: assignment.attemptId };
    },
    /** As `assign`, and its process runs. */
    async run(wish: Partial<JobSpec> = {}) {
      const assigned = await world.assign(wish);
      const deadline = now() + 60_000;
      await store.startAttempts([{ ...assigned, startedAt: now(), deadline }], now());
      return assigned;
    },
    async messages(id: JobId): Promise<readonly string[]> {
      const events = await store.listEvents(id, 0, 100);
      return events.map((event) => `${event.stage}: ${event.message}`);
    },
  };
  return world;
}

export type World = Awaited<ReturnType<typeof createWorld>>;

export const startFailure: Failure = {
  stage: "creating",
  cause: "start_failed",
  blame: "provider",
  message: "the quota is used up",
  userCodeMayHaveRun: false,
  evidence: { status: "403" },
};
