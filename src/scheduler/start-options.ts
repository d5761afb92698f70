import type { JobSpec } from "#job/job.ts";
import type { LogStore } from "#logstore/logstore.ts";
import type { Provider } from "#provider/provider.ts";
import type { Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import type { CircuitLimits } from "./circuit.ts";
import type { ReplicaSelf } from "./lead.ts";
import type { WarmWish } from "./place.ts";
import type { ProviderChange, ProviderSettings } from "./scheduler.ts";
import type { Strategies } from "./strategies.ts";

export interface SchedulerOptions {
  readonly store: Store;
  readonly logStore: LogStore;
  /** In the order of the configuration. */
  readonly providers: readonly Provider[];
  /** What is said of them, by name. */
  readonly settings?: ReadonlyMap<string, ProviderSettings>;
  /** Without any, the order of the configuration counts. */
  readonly strategies?: Strategies;
  readonly readSpec: (bytes: Uint8Array) => JobSpec;
  /** Where agents dial back to; asked at each start, since the port may be chosen late. */
  readonly serverAddress: () => string;
  /** PEM of what agents must find behind the server; asked for at each start, since it is renewed. */
  readonly serverCa?: () => string;
  readonly log: Logger;
  readonly metrics?: SchedulerMetrics;
  /** Who this server is among those that share the store. Without it, it leads alone. */
  readonly replica?: ReplicaSelf;
  /** Told whenever this server begins or ends to lead. */
  readonly onLead?: (isLeading: boolean) => void;
  /** Another server may have added, changed or removed a provider. */
  readonly onProviderChange?: () => void;
  /** Told of every change of a provider; must not wait. */
  readonly onProviderEvent?: (change: ProviderChange) => void;
  readonly limits: SchedulerLimits;
  readonly reuse: WorkerReuse;
  readonly warm: readonly WarmWish[];
  /** Weight of a tenant; 1 when not given. */
  readonly weightOf?: (tenant: string) => number;
  /** Wall clock, in milliseconds since 1970. */
  readonly now?: () => number;
  /** A clock that never jumps, in milliseconds. */
  readonly monotonic?: () => number;
  /** From 0 (inclusive) to 1 (exclusive). */
  readonly random?: () => number;
}

/** What the loops count; all labels have few values. */
export interface SchedulerMetrics {
  workersPlanned(provider: string, count: number): void;
  startFailed(provider: string, cause: string): void;
  workerEnded(provider: string): void;
  orphanStopped(provider: string): void;
  jobsSwept(state: string): void;
  attemptCounted(what: string): void;
  /** 0: closed, 1: half open, 2: open. */
  providerCircuit(provider: string, state: number): void;
  /** From 0 (sick) to 1 (well). */
  providerHealth(provider: string, score: number): void;
  healthChecked(
    provider: string,
    check: { readonly seconds: number; readonly isError: boolean },
  ): void;
  /** Nothing more is said of it. */
  providerGone(provider: string): void;
}

export interface SchedulerLimits extends CircuitLimits, HedgeLimits {
  /** Pause between two rounds of the provision loop when nothing wakes it. */
  readonly provisionIntervalMs: number;
  /** Least pause between two rounds. */
  readonly provisionGapMs: number;
  readonly reapIntervalMs: number;
  /** How often providers are asked for what they run; two lists find an orphan. */
  readonly listIntervalMs: number;
  readonly sweepIntervalMs: number;
  readonly healthIntervalMs: number;
  readonly healthTimeoutMs: number;
  /** Least pause between two times that what was learned of providers is saved. */
  readonly rememberIntervalMs: number;
  readonly expireIntervalMs: number;
  readonly logExpireIntervalMs: number;
  readonly expireBatch: number;

  readonly maxConcurrentStarts: number;
  readonly maxConcurrentStops: number;
  /** From planning to redeeming. */
  readonly startDeadlineMs: number;
  /** The same where the job asks for a GPU: machines with one often have to be bought first. */
  readonly gpuStartDeadlineMs: number;
  /** From assigning an attempt to its process's start. */
  readonly attemptStartMs: number;
  /** How much longer than the start deadline a token is good. */
  readonly otpSlackMs: number;
  /** First pause after a failed start of a class on a provider; doubles up to the second. */
  readonly startBackoffMs: number;
  readonly maxStartBackoffMs: number;
  readonly maxInfraRetries: number;
  /** Workers that are started again for a job whose image nobody who could run it can get. */
  readonly maxImageRetries: number;

  /** Silence after which a worker is suspect. */
  readonly suspectMs: number;
  /** For workers without a job; jobs bring their own. */
  readonly disconnectToleranceMs: number;
  /** Added to every tolerance. */
  readonly graceMs: number;
  /** Time that a worker gets to end by itself before it is killed. */
  readonly stopGraceMs: number;
  /** How long the end of a worker that died waits for what it printed last. */
  readonly tailWaitMs: number;
  /** Time that a worker which is done gets to leave. */
  readonly leaveGraceMs: number;
  /** Added to a job's cancel grace. */
  readonly cancelSlackMs: number;
  /** Due jobs looked at in one round. */
  readonly sweepBatch: number;

  /** How long the record of a job that is over is kept. */
  readonly jobTtlMs: number;
  readonly workerTtlMs: number;
}

/** For jobs that must start soon. */
export interface HedgeLimits {
  /** A worker that has not called back after this long gets a rival on another provider; undefined: never. */
  readonly hedgeAfterMs: number | undefined;
  /** Only for jobs of this priority or more. */
  readonly hedgePriority: number;
}

export const defaultLimits: SchedulerLimits = {
  provisionIntervalMs: 1_000,
  provisionGapMs: 10,
  reapIntervalMs: 1_000,
  listIntervalMs: 15_000,
  sweepIntervalMs: 1_000,
  healthIntervalMs: 5_000,
  healthTimeoutMs: 5_000,
  rememberIntervalMs: 3_000,
  expireIntervalMs: 60_000,
  logExpireIntervalMs: 300_000,
  expireBatch: 1_000,
  maxConcurrentStarts: 16,
  maxConcurrentStops: 64,
  startDeadlineMs: 240_000,
  gpuStartDeadlineMs: 600_000,
  attemptStartMs: 60_000,
  otpSlackMs: 60_000,
  startBackoffMs: 500,
  maxStartBackoffMs: 60_000,
  maxInfraRetries: 10,
  maxImageRetries: 2,
  circuitFailures: 5,
  circuitSuccesses: 3,
  circuitOpenMs: 60_000,
  maxCircuitOpenMs: 600_000,
  hedgeAfterMs: undefined,
  hedgePriority: 1_000,
  suspectMs: 30_000,
  disconnectToleranceMs: 600_000,
  graceMs: 5_000,
  stopGraceMs: 5_000,
  tailWaitMs: 2_000,
  leaveGraceMs: 10_000,
  cancelSlackMs: 15_000,
  sweepBatch: 500,
  jobTtlMs: 30 * 86_400_000,
  workerTtlMs: 86_400_000,
};

export interface WorkerReuse {
  readonly slots: number;
  readonly maxJobs: number;
  /** How long a worker that nobody needs is kept. */
  readonly idleTimeoutMs: number;
  readonly sameTenantOnly: boolean;
}

export const defaultReuse: WorkerReuse = {
  slots: 1,
  maxJobs: 1,
  idleTimeoutMs: 60_000,
  sameTenantOnly: true,
};
