import type { AttemptId, JobId, WorkerId } from "#job/id.ts";
import type { Job, JobSpec, Usage } from "#job/job.ts";
import type { LogStore } from "#logstore/logstore.ts";
import type { Assignment, Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import type { JobWatch, WorkerLink } from "./scheduler.ts";

/** What happened that is worth counting. */
export type AttemptCount =
  | "assigned"
  | "finished"
  | "requeued"
  | "fenced"
  | "lost"
  | "log_lost"
  | "replaced"
  | "suspect"
  | "claim_failed";

export interface AttemptLimits {
  /** Silence after which a worker is suspect. */
  readonly suspectMs: number;
  /** By when an assigned attempt must have been started. */
  readonly startMs: number;
  /** What is added to deadlines so that the agent acts before the server. */
  readonly graceMs: number;
  readonly maxInfraRetries: number;
  /** How long the record of a job is kept after its end. */
  readonly jobTtlMs: number;
  /** How long a result of a connected worker waits for its log. */
  readonly logWaitMs: number;
  /** Most slots that an agent may claim to have. */
  readonly maxSlots: number;
  /** Whether a worker runs jobs of one tenant only. */
  readonly bindsTenant: boolean;
  /** How long the start of a job that may be over at once waits for its end. */
  readonly gatherMs: number;
}

export const attemptLimits: AttemptLimits = {
  suspectMs: 30_000,
  startMs: 60_000,
  graceMs: 5_000,
  maxInfraRetries: 10,
  jobTtlMs: 30 * 24 * 3_600_000,
  logWaitMs: 30_000,
  maxSlots: 1_024,
  bindsTenant: true,
  gatherMs: 15,
};

/** What the parts of `Attempts` work with. */
export interface Ground {
  readonly store: Store;
  readonly logStore: LogStore;
  readonly watch: JobWatch;
  readonly readSpec: (bytes: Uint8Array) => JobSpec;
  readonly log: Logger;
  readonly count: (what: AttemptCount) => void;
  readonly now: () => number;
  /** From 0 (inclusive) to 1 (exclusive). */
  readonly random: () => number;
  readonly limits: AttemptLimits;
}

/**
 * The server's side of one worker, while it is connected or has attempts. Whatever it says is also in the store; after a restart it
 * is filled again when the agent connects.
 */
export class Side {
  readonly id: WorkerId;
  readonly classKey: string;
  readonly attempts = new Map<AttemptId, Held>();
  /** Undefined while nothing may be assigned. */
  link: WorkerLink | undefined;
  /** A connection whose hello is still being compared with the store. */
  opening: WorkerLink | undefined;
  /** What it is to be told after that: signals that come meanwhile must not get lost. */
  signals: ((link: WorkerLink) => void)[] = [];
  /** Told to drain since the newest connection came. */
  isDrained = false;
  /** Grows with each connection; what an older one does is passed over. */
  epoch = 0;
  /** The store's number of the newest connection here; a higher one there is another replica's. */
  connection = 0;
  slots = 0;
  /** Whose jobs it runs; undefined while it is free. */
  tenant: string | undefined;
  takesWork = false;
  /** Attempts that it may still be given. */
  jobsLeft = Number.POSITIVE_INFINITY;
  /** Attempts whose end is being stored: they take no slot any more. */
  storing = 0;
  /** Its last attempt was over at once. */
  hasShortJobs = false;
  /** Slots for which a claim is under way. */
  claiming = 0;
  /** The claims and losses under way; resolves when they are over. */
  writes: Promise<unknown> = Promise.resolve();

  constructor(id: WorkerId, classKey: string) {
    this.id = id;
    this.classKey = classKey;
  }

  /** How many attempts it can be given now. */
  get free(): number {
    if (!this.takesWork || this.link === undefined) return 0;
    const slots = this.slots - (this.attempts.size - this.storing) - this.claiming;
    return Math.min(slots, this.jobsLeft - this.claiming);
  }
}

/** An attempt that a worker has. */
export class Held {
  readonly jobId: JobId;
  readonly attemptId: AttemptId;
  readonly attemptNumber: number;
  readonly specBytes: Uint8Array;
  readonly spentAttempts: number;
  readonly infraRetries: number;
  readonly correlationId: string;
  /** assigned → running → waiting (for its log) → storing. */
  phase: "assigned" | "running" | "waiting" | "storing" = "assigned";
  /** Whether it is certain that its agent was never given it, or never began with it, so that no user code ran. */
  isUnsent = false;
  /** Its agent was told to drop it, since it had not started it in time. */
  isRecalled = false;
  /** Its newest durable log batch; undefined when this process does not know. */
  logBatch: number | undefined;
  /** Called whenever `logBatch` grows, or there is nothing to wait for any more. */
  onLog: (() => void) | undefined;
  peak: Usage | undefined;
  /** When the store is asked whether it is still current. */
  checkAt: number;
  /** Whether the agent was told to cancel it. */
  isCancelTold = false;
  #spec: JobSpec | undefined;

  constructor(assignment: Omit<Assignment, "tenant">, checkAt: number) {
    this.jobId = assignment.jobId;
    this.attemptId = assignment.attemptId;
    this.attemptNumber = assignment.attemptNumber;
    this.specBytes = assignment.spec;
    this.spentAttempts = assignment.spentAttempts;
    this.infraRetries = assignment.infraRetries;
    this.correlationId = assignment.correlationId;
    this.checkAt = checkAt;
  }

  /** What every log line about it says. */
  get facts(): { jobId: JobId; attempt: number; correlationId: string } {
    return { jobId: this.jobId, attempt: this.attemptNumber, correlationId: this.correlationId };
  }

  /** Most attempts succeed without anybody looking into their specs, so they are decoded late. */
  readSpec(read: (bytes: Uint8Array) => JobSpec): JobSpec {
    return (this.#spec ??= read(this.specBytes));
  }
}

/** Tells the agent now, or once its hello is compared: what came before that, it would not understand. */
export function signal(side: Side, say: (link: WorkerLink) => void): void {
  if (side.link !== undefined) say(side.link);
  else if (side.opening !== undefined) side.signals.push(say);
}

/** The job's current attempt, if it is this worker's and not over. */
export function currentAttempt(job: Job | undefined, workerId: WorkerId): Assignment | undefined {
  const attempt = job?.attempts.at(-1);
  if (job === undefined || attempt === undefined) return undefined;
  if (attempt.workerId !== workerId || attempt.state === "ended") return undefined;
  return {
    jobId: job.id,
    attemptId: attempt.id,
    attemptNumber: attempt.number,
    tenant: job.tenant,
    spec: job.spec,
    correlationId: job.correlationId,
    spentAttempts: job.spentAttempts,
    infraRetries: job.infraRetries,
  };
}

/** The attempt as this worker has it, taken from the store when this process did not know it; undefined when it is not this worker's. */
export function findHeld(side: Side, job: Job, attemptId: AttemptId): Held | undefined {
  const known = side.attempts.get(attemptId);
  if (known !== undefined) return known.jobId === job.id ? known : undefined;
  const assignment = currentAttempt(job, side.id);
  if (assignment?.attemptId !== attemptId) return undefined;
  const held = new Held(assignment, 0);
  if (job.attempts.at(-1)?.startedAt !== undefined) held.phase = "running";
  side.attempts.set(attemptId, held);
  return held;
}
