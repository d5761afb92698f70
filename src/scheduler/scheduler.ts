import type { AttemptId, JobId, WorkerId } from "#job/id.ts";
import type { Failure, Stage } from "#job/failure.ts";
import type { Job, JobEvent, Outcome } from "#job/job.ts";
import type { Assignment } from "#store/store.ts";
import type { Worker } from "#worker/worker.ts";

/** What the edge asks of the deciding part. Every method resolves once what it says is durable. */
export interface Scheduler extends AsyncDisposable {
  readonly attempts: Attempts;
  readonly watch: JobWatch;

  /** New jobs of these classes are on their way into the store: claim and provision early. */
  jobsArrived(classKeys: ReadonlySet<string>): void;

  /** Stores the wish and tells the agent. Errors as `Store.cancelJob`. */
  cancelJob(id: JobId, cancel: { readonly reason: string; readonly actor: string }): Promise<Job>;

  explainJob(job: Job): Promise<Explanation>;

  /** Errors: `not_found`. */
  drainWorker(id: WorkerId, reason: string): Promise<Worker>;
  /** Ends the worker and what runs on it. Errors: `not_found`. */
  terminateWorker(id: WorkerId, reason: string): Promise<Worker>;

  listProviders(): Promise<readonly ProviderStatus[]>;
}

/** What runs on connected workers: assigning, renewing, ending. */
export interface Attempts extends AsyncDisposable {
  /** A worker's Control stream has said hello. A newer connection replaces the older one, which is told by `link.replaced` (DESIGN G14). */
  connect(worker: Worker, hello: WorkerHello, link: WorkerLink): Promise<Connection>;

  isConnected(id: WorkerId): boolean;

  /** Free slots may have something to do: claims for the connected workers of these classes. */
  wake(classKeys: ReadonlySet<string>): void;

  /** Tells the agent, if it is connected, to end the attempt; resolves when told, not when over. */
  signalCancel(job: Job, reason: string): void;

  /** Tells the agent, if it is connected, to take nothing new. */
  signalDrain(id: WorkerId, reason: string): void;

  /**
   * The worker is certainly gone, or has been silent for longer than its tolerance: closes the logs of its attempts with a gap and finishes them with
   * `failure`, retried or not as `judge` says. The worker's own record stays as it is.
   */
  loseWorker(worker: Worker, failure: Failure): Promise<void>;

  /** Attempts that this worker's session may speak for, as jobs; undefined entries are fenced. */
  ownsAttempt(workerId: WorkerId, attemptId: AttemptId, jobId: JobId): Promise<boolean>;

  /** The number of renewals' silence after which workers are looked at is a config value; these are past it. */
  listSilent(): readonly { readonly workerId: WorkerId; readonly silentMs: number }[];
}

export interface WorkerHello {
  readonly slots: number;
  readonly hostname: string;
  readonly held: readonly { readonly attemptId: AttemptId; readonly jobId: JobId }[];
}

/** The way to a connected agent. Calls never block; they are batched per turn of the event loop and bounded by the slots. */
export interface WorkerLink {
  assign(assignment: Assignment): void;
  cancel(attemptId: AttemptId, graceMs: number, reason: string): void;
  drain(reason: string): void;
  fence(attemptId: AttemptId): void;
  /** A newer connection has taken over: close without touching anything. */
  replaced(): void;
}

/** What a connected agent may report. Each call belongs to the worker of the connection, whatever the message says. */
export interface Connection {
  renew(
    usages: readonly { readonly attemptId: AttemptId; readonly usage: Outcome["peak"] }[],
  ): void;
  started(attemptId: AttemptId, jobId: JobId, startedAt: number): Promise<"ok" | "fenced">;
  /** Waits for the log up to `lastLogBatch` (DESIGN G22), then stores the result (DESIGN G6). */
  finished(
    attemptId: AttemptId,
    jobId: JobId,
    result: { readonly outcome: Outcome; readonly lastLogBatch: number },
  ): Promise<"ok" | "fenced">;
  /** The agent leaves on purpose. */
  goodbye(reason: string): void;
  /** The stream is closed. Closing an older connection never removes a newer one. */
  closed(): void;
}

/** Follows the histories of jobs. */
export interface JobWatch {
  /** Something about these jobs was stored. */
  touch(ids: Iterable<JobId>): void;
  /** Events after the cursor, then as they come; ends after the final one. Error: `not_found`. */
  follow(id: JobId, afterSequence: number, signal: AbortSignal): AsyncIterable<JobEvent>;
}

export interface Explanation {
  readonly stage: Stage;
  readonly summary: string;
  readonly jobsAhead: number | undefined;
  readonly tenantShare: number;
  readonly providers: readonly ProviderVerdict[];
}

export interface ProviderVerdict {
  readonly provider: string;
  readonly type: string;
  readonly isEligible: boolean;
  readonly reason: string;
  /** From 1; zero when not eligible. */
  readonly rank: number;
  readonly score: number;
}

export interface ProviderStatus {
  readonly name: string;
  readonly type: string;
  readonly health: "healthy" | "degraded" | "unhealthy";
  readonly reason: string;
  readonly maxWorkers: number;
  readonly workers: number;
  readonly capabilities: readonly string[];
}
