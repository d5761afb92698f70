import type { Failure, Stage } from "#job/failure.ts";
import type { AttemptId, JobId, WorkerId } from "#job/id.ts";
import type { Job, JobEvent, Outcome } from "#job/job.ts";
import type { JobMove, JobState } from "#job/state.ts";
import type { Worker, WorkerState } from "#worker/worker.ts";
import type { AccessStore, SubmitAudit } from "./access-store.ts";
import type { Page, PageQuery } from "./page.ts";
import type { ProviderStore } from "./provider-store.ts";
import type { ReplicaStore } from "./replica-store.ts";

export type * from "./access-store.ts";
export type { Page, PageQuery } from "./page.ts";
export type * from "./provider-store.ts";
export type * from "./replica-store.ts";

/**
 * Where jobs, attempts, workers, providers, tokens and audit rows live. One method is one atomic step; it resolves once the step is durable, and
 * the steps of one turn of the event loop become durable together. Steps given in one turn happen in the order in which they were given, so that a
 * claim given right after a submit may already find its job.
 *
 * `now` is the caller's wall clock in milliseconds since 1970. Errors: `unavailable` when the outcome is unknown (a commit failed: the store must be
 * opened again), `resource_exhausted` when the disk is full and nothing was changed.
 */
export interface Store
  extends JobStore, DispatchStore, WorkerStore, AccessStore, ProviderStore, AsyncDisposable {
  /**
   * Deletes what has expired: jobs with their attempts and events, workers, idempotency keys, audit rows, tokens, events of providers. At most `limit` rows. One
   * token stays, so that a server which once had one never again lets everybody in.
   */
  expire(now: number, limit: number): Promise<number>;

  /**
   * Tells of changes, whichever process made them; only of stores that several processes share. Some may be missed, such as those while there is no connection,
   * so it only wakes early what looks by itself too; `missed` comes once it listens again. Resolves once it listens.
   */
  follow?(listener: (change: StoreChange) => void): Promise<AsyncDisposable>;

  /** Only of stores that several processes share. */
  readonly replicas?: ReplicaStore;
}

/**
 * `class`: there is something to claim. `cancel`: a job that is on a worker is to be cancelled; it comes as `job` too. `provider`: one was added, changed or
 * removed. `lead`: another replica leads, or none. `missed`: there was no connection for a while, so any of the others may have been missed. The id is a class's
 * key, a provider's name, an id, or empty where none leads or changes were missed.
 */
export interface StoreChange {
  readonly kind: "job" | "class" | "worker" | "cancel" | "provider" | "lead" | "missed";
  readonly id: string;
}

/** Jobs and their histories. */
export interface JobStore {
  /** Accepts jobs, each for itself: one that is refused leaves the others alone. Ids grow in the order given. With `audit`, one row says so in the same step. */
  submitJobs(
    jobs: readonly NewJob[],
    now: number,
    audit?: SubmitAudit,
  ): Promise<readonly SubmitOutcome[]>;

  findJob(id: JobId): Promise<Job | undefined>;

  /** Newest first. A page may be short and still have a next one, since the rows looked at for one page are bounded. */
  listJobs(query: JobQuery): Promise<Page<Job>>;

  /** Events with a higher sequence, in order; at most `limit`. Empty for an unknown job. */
  listEvents(id: JobId, afterSequence: number, limit: number): Promise<readonly JobEvent[]>;

  /** Adds stages to the histories of jobs that are not over; others are passed over. The version stays. */
  recordStages(stages: readonly NewStage[], now: number): Promise<void>;

  /** Queued: ends it. Starting or running: cancelling, by `deadline`. Cancelling: no change. Errors: `not_found`; `failed_precondition` when it is over. */
  cancelJob(id: JobId, cancel: NewCancel, now: number): Promise<Job>;

  /** Jobs in a non-final state whose stored deadline has passed, oldest deadline first. */
  listDue(now: number, limit: number): Promise<readonly Job[]>;

  /** Moves each job whose version is still the given one; the others are passed over and answered `false` (DESIGN G4, G7). */
  moveJobs(moves: readonly VersionedMove[], now: number): Promise<readonly boolean[]>;
}

/** Assigning jobs to workers, and what comes of it. */
export interface DispatchStore {
  /**
   * Assigns up to `claim.count` queued jobs of the worker's class to it, each with a new attempt (DESIGN G8), and moves them to starting.
   * Tenants take turns by weight; within a tenant the higher priority goes first, then the older job. The cost does not grow with the queue.
   * A worker that is bound to a tenant gets only that tenant's jobs; a free one is bound by its first claim if `claim.bindsTenant`.
   * A worker that `isForJobOnly` gets that job or none. Empty for a worker that is not ready, has had its `maxJobs`, has a newer connection, or is unknown.
   */
  claimNext(workerId: WorkerId, claim: Claim, now: number): Promise<readonly Assignment[]>;

  /** The process runs: starting → running with the given deadline. `fenced` when the attempt is not the job's current one or is over. A repeat is fine. */
  startAttempts(starts: readonly AttemptStart[], now: number): Promise<readonly Fenced[]>;

  /**
   * Ends attempts and moves their jobs. `fenced` when the attempt is not the job's current one, or the job is over by another hand; `repeat` for the
   * finish that was stored before (same end, exit code and signal; DESIGN G6). An attempt that has started, or succeeded, and was never
   * reported as started is started on the way. When the job is cancelling, a `requeue` or `time_out` becomes `end_cancelled`; a running job that
   * ended as cancelled is cancelled on the way.
   */
  finishAttempts(finishes: readonly AttemptFinish[], now: number): Promise<readonly Finished[]>;

  /** Queued jobs by class, tenant and priority, those backing off apart; its size is that of the kinds of jobs, not of the queue (DESIGN §4). */
  readDemand(now: number): Promise<readonly Demand[]>;

  /** How many queued jobs of the same tenant and class come before this one; undefined when it is not queued. */
  countAhead(id: JobId): Promise<number | undefined>;
}

/** Workers. */
export interface WorkerStore {
  /**
   * Stores the intent to start workers, before any provider is asked. Each gets as `forJob` the first queued job of its class (and tenant, if bound)
   * for which no other expected worker was planned, if there is one and it is not `isWarm`.
   */
  planWorkers(workers: readonly NewWorker[], now: number): Promise<readonly Worker[]>;

  /** The create call has returned. The state of a worker that is further along stays; its resource's id is stored all the same. */
  recordCreated(id: WorkerId, resourceUid: string, now: number): Promise<void>;

  /**
   * Exchanges the OTP for the session that the agent made (DESIGN G13). A repeat with the same session is `ok`. `refused` says why, for the audit and
   * never for the caller. Also moves the worker to ready.
   */
  redeem(id: WorkerId, claim: RedeemClaim, now: number): Promise<RedeemOutcome>;

  /** The session's hash of a worker that is not over; undefined when it has none. */
  findSession(id: WorkerId): Promise<Uint8Array | undefined>;

  /**
   * What the agent said of itself when it connected. Answers the number of that connection, one higher with each call; the newest one is the worker's (DESIGN G14).
   * 0 when the worker is unknown or over.
   */
  recordHello(id: WorkerId, hello: WorkerHello): Promise<number>;

  findWorker(id: WorkerId): Promise<Worker | undefined>;
  /** Newest first. */
  listWorkers(query: WorkerQuery): Promise<Page<Worker>>;
  /** Every worker that is not over. */
  listLiveWorkers(): Promise<readonly Worker[]>;

  /** ready → draining. No change when it is further along. Error: `not_found`. */
  drainWorker(id: WorkerId, reason: string, now: number): Promise<Worker>;

  /** → stopping: it is given nothing any more, and its resource is to be removed. No change when it is further along. Error: `not_found`. */
  stopWorker(id: WorkerId, stop: WorkerStop, now: number): Promise<Worker>;

  /**
   * → ended: its resource is confirmed gone (or never was). Its session and OTP die with it. Attempts that it still had stay as they are: the caller has
   * finished them before. When it never became ready, `forJob`, if it is still queued, gets the failure in its history and one more infrastructure
   * retry; its version stays.
   */
  endWorker(id: WorkerId, end: WorkerEnd, now: number): Promise<Worker | undefined>;
}

export interface NewJob {
  readonly tenant: string;
  readonly spec: Uint8Array;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly classKey: string;
  readonly priority: number;
  /** `now` + queue timeout. */
  readonly deadline: number;
  readonly correlationId: string;
  /** Who submitted, for the history. */
  readonly actor: string;
  readonly idempotency:
    { readonly key: string; readonly specHash: Uint8Array; readonly expiresAt: number } | undefined;
  /** Most queued jobs that the tenant may have, this one included. */
  readonly maxQueued: number;
}

export type SubmitOutcome =
  | {
      readonly kind: "accepted";
      readonly id: JobId;
      readonly version: number;
      readonly alreadyExisted: boolean;
    }
  /** The idempotency key belongs to this job, whose spec is another. */
  | { readonly kind: "conflict"; readonly id: JobId }
  | { readonly kind: "quota"; readonly queued: number };

export interface JobQuery extends PageQuery {
  /** Undefined: all tenants. */
  readonly tenant: string | undefined;
  /** Empty: all. */
  readonly states: readonly JobState[];
  readonly labels: Readonly<Record<string, string>>;
  /** Part of the name or id, without regard to case; empty: all. */
  readonly text: string;
  readonly submittedAfter: number | undefined;
  readonly submittedBefore: number | undefined;
}

export interface NewStage {
  readonly jobId: JobId;
  readonly stage: Stage;
  readonly workerId: WorkerId | undefined;
  readonly message: string;
  readonly failure?: Failure;
}

export interface NewCancel {
  readonly reason: string;
  readonly actor: string;
  /** By when a job that is not queued any more must have ended. */
  readonly deadline: number;
  /** When the record of a job that ends at once is deleted. */
  readonly expiresAt: number;
}

/** A move made by the server itself, such as a timeout. `requeue` and final moves end the current attempt, if there is one, with `failure`. */
export interface VersionedMove {
  readonly jobId: JobId;
  readonly version: number;
  readonly move: Extract<JobMove, "requeue" | "fail" | "time_out" | "end_cancelled">;
  readonly failure: Failure;
  /** For `requeue`: from when on it may be claimed, and the queue's deadline. For the others: when the record is deleted. */
  readonly next: NextStep;
}

export type NextStep =
  | {
      readonly kind: "queued";
      readonly notBefore: number;
      readonly deadline: number;
      readonly isSpent: boolean;
    }
  | { readonly kind: "over"; readonly expiresAt: number };

export interface Claim {
  readonly count: number;
  /** One fresh attempt id for each job that may be claimed. */
  readonly attemptIds: readonly AttemptId[];
  /** By when an assigned attempt must have been started. */
  readonly deadline: number;
  readonly bindsTenant: boolean;
  /** Of `recordHello`: nothing is assigned through a connection that is not the worker's newest. */
  readonly connection?: number;
}

export interface Assignment {
  readonly jobId: JobId;
  readonly attemptId: AttemptId;
  readonly attemptNumber: number;
  readonly tenant: string;
  readonly spec: Uint8Array;
  readonly correlationId: string;
  readonly spentAttempts: number;
  readonly infraRetries: number;
}

export type Fenced = "ok" | "fenced";

export type Finished = Fenced | "repeat";

export interface AttemptStart {
  readonly jobId: JobId;
  readonly attemptId: AttemptId;
  readonly startedAt: number;
  /** By when the attempt must have ended, tolerance included. */
  readonly deadline: number;
}

export interface AttemptFinish {
  readonly jobId: JobId;
  readonly attemptId: AttemptId;
  readonly outcome: Outcome;
  readonly move: Extract<JobMove, "succeed" | "fail" | "end_cancelled" | "time_out" | "requeue">;
  readonly next: NextStep;
  /** When the record is deleted if a requeue turns out to be the end of a cancelled job. */
  readonly expiresAt: number;
}

export interface Demand {
  readonly tenant: string;
  readonly classKey: string;
  readonly priority: number;
  /** Jobs that could be claimed now. */
  readonly queued: number;
  /** Jobs that back off. */
  readonly waiting: number;
  /** When the oldest of those that could be claimed now was submitted. */
  readonly oldestAt: number;
}

export interface NewWorker {
  readonly id: WorkerId;
  readonly provider: string;
  readonly classKey: string;
  readonly tenant: string | undefined;
  readonly resourceName: string;
  readonly otpHash: Uint8Array;
  /** Until when the OTP is good. */
  readonly otpExpiresAt: number;
  readonly startDeadline: number;
  readonly slots: number;
  readonly maxJobs: number;
  readonly isWarm: boolean;
  /** Whether it is to run its `forJob` and no other; only where `maxJobs` is 1. */
  readonly isForJobOnly: boolean;
  /** Of its class, as `Worker.pricePerHour`; 0 when not given. */
  readonly pricePerHour?: number;
  /** The job that it is for, also if another worker is; without one the next that has none. */
  readonly forJob?: JobId;
}

export interface RedeemClaim {
  /** Of the one-time token; or the worker's provider has attested that the claimant is the worker (DESIGN G15), which holds as long as the token would. */
  readonly otpHash: Uint8Array | "attested";
  readonly sessionHash: Uint8Array;
}

export type RedeemOutcome =
  | { readonly kind: "ok"; readonly isRepeat: boolean }
  | {
      readonly kind: "refused";
      readonly reason: "unknown_worker" | "wrong_token" | "expired" | "already_redeemed" | "over";
    };

export interface WorkerHello {
  readonly slots: number;
  readonly hostname: string;
}

export interface WorkerQuery extends PageQuery {
  /** Empty: all that are not over. */
  readonly states: readonly WorkerState[];
  /** Undefined: all. */
  readonly provider: string | undefined;
  /** Undefined: all. */
  readonly tenant: string | undefined;
}

export interface WorkerStop {
  readonly reason: string;
}

export interface WorkerEnd {
  readonly failure: Failure | undefined;
  readonly expiresAt: number;
}
