import type { AttemptId, JobId, WorkerId } from "#job/id.ts";
import type { Failure, Stage } from "#job/failure.ts";
import type { Job, JobEvent, Outcome, Usage } from "#job/job.ts";
import type { NewBatch } from "#logstore/logstore.ts";
import type { Provider } from "#provider/provider.ts";
import type { Assignment, Replica, StoreChange } from "#store/store.ts";
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
  /** What would become of a job of this class, if the tenant submitted it now. */
  explainWish(wish: { readonly classKey: string; readonly tenant: string }): Promise<Explanation>;

  /** Errors: `not_found`. */
  drainWorker(id: WorkerId, reason: string): Promise<Worker>;
  /** Ends the worker and what runs on it. Errors: `not_found`. */
  terminateWorker(id: WorkerId, reason: string): Promise<Worker>;

  listProviders(): Promise<readonly ProviderStatus[]>;

  /** Whether this server starts and ends workers for all that share its store. */
  readonly isLeading: boolean;
  /** Servers that share the store, this one included; none where it is not shared. */
  readonly replicas: readonly Replica[];

  /** One more provider; resolves once it was asked how it is. It stays the caller's, who disposes it after its removal. Errors: `already_exists`. */
  addProvider(provider: Provider, settings: ProviderSettings): Promise<void>;
  /** From the next decision on. Errors: `not_found`. */
  changeProvider(name: string, settings: ProviderSettings): void;
  /** Nothing of it is used any more once this resolves. Errors: `not_found`; `failed_precondition` while workers of it live. */
  removeProvider(name: string): Promise<void>;
}

/** What the operator says of a provider; what is left out is the provider's own. */
export interface ProviderSettings {
  /** By which jobs may ask for it, beside its name; without one the name. */
  readonly id?: string;
  /** One that is not is given no new workers; what runs there goes on. */
  readonly isEnabled: boolean;
  /** Higher comes first where a strategy keeps the order of the configuration. */
  readonly priority: number;
  readonly maxWorkers: number | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** Empty: not said. */
  readonly region: string;
  /** Empty: any. */
  readonly architectures: readonly string[];
  /** What its workers can run; a job that asks for more runs elsewhere. */
  readonly runtimes: readonly string[];
  /** The longest time that a job may run there; 0: no bound. */
  readonly maxHours: number;
  /** Cost of an hour of one unit, in units of the operator's choice. */
  readonly pricePerHour: UnitPrices | undefined;
  /** How long a worker may take until it dials back; undefined: as everywhere. */
  readonly startDeadlineMs: number | undefined;
}

/** Of a provider of which nobody has said anything. */
export const defaultSettings: ProviderSettings = {
  isEnabled: true,
  priority: 0,
  maxWorkers: undefined,
  labels: {},
  region: "",
  architectures: [],
  runtimes: [],
  maxHours: 0,
  pricePerHour: undefined,
  startDeadlineMs: undefined,
};

export interface UnitPrices {
  readonly cpuCore: number;
  readonly memoryGib: number;
  readonly gpu: number;
}

/** What runs on connected workers: assigning, renewing, ending. */
export interface Attempts extends AsyncDisposable {
  /**
   * A worker's Control stream has said hello. A newer connection replaces the older one, whose link is closed (DESIGN G14). What the agent holds and may
   * keep is kept; the rest is fenced, and what it should have and never got is assigned again.
   */
  connect(worker: Worker, hello: WorkerHello, link: WorkerLink): Promise<Connection>;

  /** Here; where the store is shared, also to another replica that heard it lately. */
  isConnected(id: WorkerId): boolean;

  /** Free slots may have something to do: claims for the idle connected workers of these classes. */
  wake(classKeys: ReadonlySet<string>): void;

  /** Tells the agent, if it is connected, to end the attempt; one that is not is told when it connects. */
  signalCancel(job: Job, reason: string): void;

  /** Tells the agent, if it is connected, to take nothing new. */
  signalDrain(id: WorkerId, reason: string): void;

  /** Another hand has ended this attempt: the agent, if it is connected, is told to stop it, and its slot is free. */
  fenceAttempt(workerId: WorkerId, attemptId: AttemptId): void;

  /**
   * The worker is certainly gone, or has been silent for longer than its tolerance: closes the logs of its attempts with a gap and finishes them with
   * `failure`, retried or not as `judge` says. The worker's own record stays as it is. What the worker itself printed last, its `tail`, is added to the logs first.
   */
  loseWorker(worker: Worker, failure: Failure, tail?: Uint8Array): Promise<void>;

  /** The worker is over: its connection is closed, and nothing about it is remembered. */
  forgetWorker(id: WorkerId): void;

  /**
   * Adds a batch to the log of an attempt that is this worker's; resolves once it is durable. `fenced` when the attempt is not, or its log has ended.
   * Errors as `LogStore.append`.
   */
  appendLog(workerId: WorkerId, batch: AttemptBatch): Promise<"ok" | "fenced">;

  /** Connected or not: workers that have been silent for longer than a lease, and for how long, without the time in which this process stood still. */
  listSilent(): readonly { readonly workerId: WorkerId; readonly silentMs: number }[];

  /** How much is remembered of workers that are connected or have attempts. */
  stats(): AttemptStats;

  /** Whether this server judges silence for all that share its store; the others only say whom they heard. */
  lead(isLeading: boolean): void;

  /** Another server on the same store has changed something: what is held here follows. */
  follow(change: StoreChange): void;
}

export interface AttemptStats {
  readonly workers: number;
  readonly attempts: number;
  /** Workers whose silence is counted. */
  readonly heard: number;
}

export interface AttemptBatch extends NewBatch {
  readonly attemptId: AttemptId;
  readonly jobId: JobId;
}

export interface WorkerHello {
  readonly slots: number;
  readonly hostname: string;
  readonly held: readonly HeldAttempt[];
}

export interface HeldAttempt {
  readonly attemptId: AttemptId;
  readonly jobId: JobId;
  /** It is over, and only its result is still to be acknowledged. */
  readonly hasEnded: boolean;
}

/** The way to a connected agent. Calls never block; they are batched per turn of the event loop and bounded by the slots. */
export interface WorkerLink {
  assign(assignment: Assignment): void;
  cancel(attemptId: AttemptId, graceMs: number, reason: string): void;
  drain(reason: string): void;
  fence(attemptId: AttemptId): void;
  /** A result was stored (DESIGN G6), or came too late. */
  acknowledge(attemptId: AttemptId, answer: "ok" | "fenced"): void;
  /** Ends the stream. `unavailable`: what the agent sent could not be stored, and it must send it again. */
  close(why: "replaced" | "unavailable" | "over"): void;
}

/** What a connected agent may report. Each call belongs to the worker of the connection, whatever the message says. */
export interface Connection {
  /** The agent is alive. Any message says so. */
  renew(usages: readonly UsageReport[]): void;
  /** Stored together; one that is not this worker's is fenced. A promise when the sender should wait before it sends more. */
  started(starts: readonly StartReport[]): Promise<void> | undefined;
  /**
   * Each waits for its log (DESIGN G22), is stored and then acknowledged over the worker's newest link (DESIGN G6). A repeat is acknowledged again.
   * A promise when the sender should wait before it sends more.
   */
  finished(results: readonly ResultReport[]): Promise<void> | undefined;
  /** Nothing of an attempt that was fenced runs there any more. */
  dropped(attemptId: AttemptId, mayHaveRun: boolean): void;
  /** The agent was asked to end by somebody else: it is given nothing more, and its jobs are told why. */
  draining(notice: DrainNotice): void;
  /** The agent leaves on purpose. */
  goodbye(reason: string): void;
  /** The stream is closed. Closing an older connection never removes a newer one. */
  closed(): void;
}

export interface DrainNotice {
  readonly reason: string;
  /** How long what runs gets to end by itself. */
  readonly graceMs: number;
}

export interface UsageReport {
  readonly attemptId: AttemptId;
  readonly usage: Usage;
}

export interface StartReport {
  readonly attemptId: AttemptId;
  readonly jobId: JobId;
  readonly startedAt: number;
}

export interface ResultReport {
  readonly attemptId: AttemptId;
  readonly jobId: JobId;
  readonly outcome: Outcome;
  /** Zero: it wrote nothing. */
  readonly lastLogBatch: number;
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
  /** What the score is made of, by name, where the strategy weighs more than one thing. */
  readonly parts: Readonly<Record<string, number>>;
  /** Of an hour of what the job asks for, in units of the operator's choice. */
  readonly pricePerHour: number;
  /** How long a start is expected to take. */
  readonly startEstimateMs: number;
  readonly circuit: CircuitState;
}

/** closed: all is well. open: it is given nothing. half_open: one start at a time shows whether it works again. */
export type CircuitState = "closed" | "half_open" | "open";

export interface ProviderStatus {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  readonly isEnabled: boolean;
  readonly priority: number;
  readonly health: "healthy" | "degraded" | "unhealthy";
  readonly reason: string;
  readonly maxWorkers: number;
  readonly workers: number;
  readonly capabilities: readonly string[];
  readonly circuit: CircuitState;
  /** Why the circuit is not closed. */
  readonly circuitReason: string;
  /** From 0 (sick) to 1 (well), learned from what was seen. */
  readonly healthScore: number;
  readonly startEstimateMs: number;
  readonly settings: ProviderSettings;
}

/** Something about a provider changed, for whoever keeps its history. */
export interface ProviderChange {
  readonly provider: string;
  readonly at: number;
  readonly kind: "health" | "circuit" | "enabled";
  readonly from: string;
  readonly to: string;
  readonly reason: string;
}
