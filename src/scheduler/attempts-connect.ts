import type { Failure } from "#job/failure.ts";
import type { AttemptId, JobId } from "#job/id.ts";
import type { Attempt, Job, Outcome } from "#job/job.ts";
import type { Worker } from "#worker/worker.ts";
import { loseLog } from "./attempts-logs.ts";
import { currentAttempt, type Ground, Held, type Side } from "./attempts-side.ts";
import type { Finishes } from "./attempts-finish.ts";
import type { WorkerHello, WorkerLink } from "./scheduler.ts";

/** What the store says that a worker should have. */
export async function readCurrent(ground: Ground, worker: Worker): Promise<readonly Job[]> {
  const jobs = await Promise.all(worker.jobs.map((id) => ground.store.findJob(id)));
  return jobs.flatMap((job) =>
    job !== undefined && currentAttempt(job, worker.id) !== undefined ? [job] : [],
  );
}

/** What the comparison of a Hello with the store came to. */
export interface Reconciled {
  /** Attempts that ran, and that the agent does not have any more. */
  readonly lost: readonly Job[];
}

/**
 * Makes the side what the store says, and tells the agent where it differs: what it holds and may not is fenced; what it was to get and never did, because a
 * crash came between storing and sending, is assigned again.
 */
export function reconcile(
  ground: Ground,
  side: Side,
  seen: { readonly hello: WorkerHello; readonly jobs: readonly Job[]; readonly link: WorkerLink },
): Reconciled {
  const { hello, jobs, link } = seen;
  const held = new Map(hello.held.map((one) => [one.attemptId, one]));
  const current = new Set<AttemptId>();
  const lost: Job[] = [];
  for (const job of jobs) {
    const assignment = currentAttempt(job, side.id);
    if (assignment === undefined) continue;
    const { attemptId } = assignment;
    current.add(attemptId);
    const isRunning = job.attempts.at(-1)?.startedAt !== undefined;
    if (!held.has(attemptId) && isRunning) {
      side.attempts.delete(attemptId);
      lost.push(job);
      continue;
    }
    const known = side.attempts.get(attemptId) ?? new Held(assignment, 0);
    known.checkAt = checkTime(ground, known, isRunning);
    if (isRunning && known.phase === "assigned") known.phase = "running";
    side.attempts.set(attemptId, known);
    known.isUnsent = false;
    if (!held.has(attemptId)) link.assign(assignment);
    known.isCancelTold = job.state === "cancelling";
    if (known.isCancelTold) {
      link.cancel(attemptId, known.readSpec(ground.readSpec).cancelGraceMs, "cancelled");
    }
  }
  for (const [attemptId, known] of side.attempts) {
    if (!current.has(attemptId) && known.phase !== "storing") side.attempts.delete(attemptId);
  }
  for (const { attemptId, hasEnded } of hello.held) {
    // The result of one that has ended is on its way, and is answered by itself.
    if (current.has(attemptId) || hasEnded) continue;
    ground.count("fenced");
    link.fence(attemptId);
  }
  return { lost };
}

/** When the store is asked whether an attempt is still current: after its own deadline there. */
export function checkTime(ground: Ground, held: Held, isRunning: boolean): number {
  const { limits, now } = ground;
  if (!isRunning) return now() + limits.startMs + limits.graceMs;
  return runDeadline(ground, held) + limits.graceMs;
}

/** By when an attempt that starts now must have ended: its agent stops it before that, also when it is disconnected. */
export function runDeadline(ground: Ground, held: Held): number {
  const spec = held.readSpec(ground.readSpec);
  const { executionTimeoutMs, cancelGraceMs, disconnectToleranceMs } = spec;
  const { graceMs } = ground.limits;
  return ground.now() + executionTimeoutMs + cancelGraceMs + disconnectToleranceMs + graceMs;
}

/** Ends the current attempts of these jobs on their worker's behalf. */
export async function loseJobs(
  ground: Ground,
  finishes: Finishes,
  lost: {
    readonly side: Side | undefined;
    readonly jobs: readonly Job[];
    readonly failure: Failure;
    readonly tail?: Uint8Array | undefined;
  },
): Promise<readonly JobId[]> {
  const { side, jobs, failure, tail } = lost;
  const ends = jobs.map(async (job) => {
    const attempt = job.attempts.at(-1);
    if (attempt === undefined) return [];
    const { logTtlMs } = ground.readSpec(job.spec);
    await loseLog(ground, attempt.id, { ttlMs: logTtlMs, tail });
    const known = side?.attempts.get(attempt.id);
    const outcome = lostOutcome(ground, attempt, { failure, known });
    const answer = await finishes.lose(job, attempt.id, outcome);
    side?.attempts.delete(attempt.id);
    if (answer === "fenced") return [];
    ground.count("lost");
    const { id: jobId, correlationId } = job;
    const { id: attemptId, workerId } = attempt;
    ground.log.warn(
      { jobId, attemptId, workerId, cause: failure.cause, correlationId },
      "attempt lost",
    );
    return [jobId];
  });
  return (await Promise.all(ends)).flat();
}

/** Why an attempt is over that its agent came back without. */
export function forgotten(worker: Worker): Failure {
  return {
    stage: "running",
    cause: "worker_died",
    blame: "system",
    message: `the agent of worker ${worker.id} came back without the attempt`,
    userCodeMayHaveRun: true,
    evidence: { worker: worker.id, provider: worker.provider, hostname: worker.hostname },
  };
}

function lostOutcome(
  ground: Ground,
  attempt: Attempt,
  { failure, known }: { readonly failure: Failure; readonly known: Held | undefined },
): Outcome {
  const hasRun = attempt.startedAt !== undefined;
  // An agent starts what it is given at once, and its word of that may have been lost with it.
  const userCodeMayHaveRun = hasRun || known?.isUnsent !== true;
  return {
    exitCode: undefined,
    signal: undefined,
    failure: { ...failure, stage: hasRun ? "running" : "preparing", userCodeMayHaveRun },
    startedAt: attempt.startedAt,
    endedAt: ground.now(),
    peak: known?.peak,
  };
}
