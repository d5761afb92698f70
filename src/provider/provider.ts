import type { Failure, Stage } from "#job/failure.ts";
import type { WorkerId } from "#job/id.ts";
import type { Resources } from "#job/job.ts";
import type { WorkerClass } from "#worker/class.ts";

/** Something that can start, list and stop workers. */
export interface Provider extends AsyncDisposable {
  /** Unique among a server's providers. */
  readonly name: string;
  /** `process`, `docker`, `kubernetes`. */
  readonly type: string;
  readonly capabilities: ProviderCapabilities;

  /** Why this class can never run here; undefined when it can. Pure. */
  refusalOf(workerClass: WorkerClass): string | undefined;

  /** The resource's name for a worker, known before it exists. Pure. */
  resourceName(workerId: WorkerId): string;

  /**
   * Starts a worker. Starting an id that runs is no second worker: it answers the running one. Rejects with a `StartError`
   * when the worker certainly does not exist, with anything else when that is unknown.
   */
  startWorker(spec: WorkerSpec, signal: AbortSignal): Promise<StartedWorker>;

  /** Asks the worker to end, then kills it and everything it started after `graceMs`. Unknown ids are already stopped. */
  stopWorker(id: WorkerId, graceMs: number): Promise<void>;

  /** Every worker that this provider runs for this instance, also those that an earlier server started. */
  listWorkers(): Promise<readonly ListedWorker[]>;

  /** Whether the worker with that uid is certainly gone. By uid, not by name; unknown when the provider cannot say now. */
  confirmDead(id: WorkerId, uid: string | undefined): Promise<"dead" | "alive" | "unknown">;

  /** What happens to its workers, from now on; after a restart also to those it found. Ends when the signal aborts. */
  watch(signal: AbortSignal): AsyncIterable<ProviderEvent>;

  /** The worker has redeemed its token: whatever held the token is removed. */
  forgetToken?(id: WorkerId): Promise<void>;

  /**
   * Whether the token that an agent shows was made for that very worker (DESIGN G15): true only if whoever made it confirms its audience, the namespace and
   * account of our workers, and the `uid` that the create call returned. Rejects when nobody can say now. Absent: workers prove themselves by their one-time token.
   */
  attest?(worker: { readonly id: WorkerId; readonly uid: string }, token: string): Promise<boolean>;

  /** The last lines that the worker itself printed, for a log whose agent died; undefined when the provider kept none. */
  readTail?(id: WorkerId, uid: string): Promise<Uint8Array | undefined>;

  health(): Promise<Health>;

  /** Of workers of that class, as if all were of it; of a usual one unless given. */
  capacity(workerClass?: WorkerClass): Capacity;

  /** Cost of one hour of these resources, in units of the operator's choice. */
  pricePerHour(resources: Resources): number;

  /** How long a start is expected to take, learned from the starts so far. */
  startEstimateMs(): number;
}

export interface ProviderCapabilities {
  /** Workers live on when the server stops, and are found again. */
  readonly survivesRestart: boolean;
  readonly memoryLimit: boolean;
  readonly cpuLimit: boolean;
  readonly images: boolean;
  readonly gpu: boolean;
  /** A worker belongs to one tenant from its start on, since it lives in a place of that tenant's. */
  readonly bindsTenant: boolean;
  /** A worker for one job is started for that very job and runs no other: the job's labels, annotations and times are the resource's. */
  readonly bindsJob: boolean;
}

export interface WorkerSpec {
  readonly workerId: WorkerId;
  readonly workerClass: WorkerClass;
  readonly tenant: string | undefined;
  /** Handed over by pipe or file only (DESIGN G13). */
  readonly otp: string;
  /** Where the agent dials back to, `host:port`. */
  readonly serverAddress: string;
  /** PEM of the certificate authority that the agent must find behind the server; undefined: plain text. */
  readonly serverCa: string | undefined;
  readonly slots: number;
  /** The job's own, where the worker is started for one job alone; empty otherwise. */
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** After this long the resource ends by itself, whatever became of the server (DESIGN G12); undefined where nobody can say. */
  readonly maxLifetimeMs: number | undefined;
  /** The agent ends by itself after this long without contact (DESIGN G12). */
  readonly disconnectToleranceMs: number;
}

export interface StartedWorker {
  /** The provider's unique id of the resource, never used twice. */
  readonly uid: string;
}

export interface ListedWorker {
  readonly id: WorkerId;
  readonly uid: string;
  readonly isRunning: boolean;
}

export type ProviderEvent =
  | {
      readonly kind: "stage";
      readonly workerId: WorkerId;
      readonly stage: Stage;
      readonly message: string;
    }
  | {
      readonly kind: "failed";
      readonly workerId: WorkerId;
      readonly failure: Failure;
      /** Whether the cause can pass by itself, so that failing waits for the start deadline (DESIGN G24). */
      readonly canPass: boolean;
    }
  | {
      readonly kind: "stopping";
      readonly workerId: WorkerId;
      readonly reason: string;
      readonly noticeMs: number;
    }
  | {
      readonly kind: "gone";
      readonly workerId: WorkerId;
      /** Why, when it did not leave on purpose: exit code, signal, out of memory. */
      readonly failure: Failure | undefined;
    };

export interface Health {
  readonly state: "healthy" | "degraded" | "unhealthy";
  readonly reason: string;
}

export interface Capacity {
  readonly maxWorkers: number;
}

/** The worker certainly does not exist, and why. */
export class StartError extends Error {
  readonly failure: Failure;

  constructor(failure: Failure, cause?: unknown) {
    super(failure.message, cause === undefined ? {} : { cause });
    this.name = "StartError";
    this.failure = failure;
  }
}
