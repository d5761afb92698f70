import type { Cause, Failure } from "#job/failure.ts";
import type { Job, JobSpec } from "#job/job.ts";
import { infraBackoffMs } from "#job/retry.ts";
import type { NextStep, VersionedMove } from "#store/store.ts";
import type { Worker } from "#worker/worker.ts";
import type { WorkerEnds } from "./reap-end.ts";
import type { ProviderVerdict } from "./scheduler.ts";
import type { Parts } from "./start-parts.ts";
import type { ClockGuard } from "./sweep-clock.ts";

export interface SweepOptions {
  readonly ends: WorkerEnds;
  readonly clock: ClockGuard;
  /** How the providers stand to a class now, as evidence. */
  readonly judge: (classKey: string) => Promise<readonly ProviderVerdict[]>;
  /** A worker was marked for removal. */
  readonly changed: () => void;
}

/** The one owner of every deadline that has passed (DESIGN G7). */
export interface Sweep {
  /** Resolves to how many jobs it has moved. */
  round(): Promise<number>;
  expireRecords(): Promise<void>;
  expireLogs(): Promise<void>;
}

interface Due {
  readonly job: Job;
  readonly spec: JobSpec;
  /** How long ago its deadline was, clock jumps taken off. */
  readonly lateMs: number;
  /** That of its current attempt, unless it is over. */
  readonly worker: Worker | undefined;
}

export function createSweep(parts: Parts, options: SweepOptions): Sweep {
  const { store, limits, now } = parts;
  const bootedAt = parts.monotonic();
  return {
    async round() {
      options.clock.check();
      const jobs = await store.listDue(now(), limits.sweepBatch);
      const upMs = parts.monotonic() - bootedAt;
      const round = { ...options, judge: once(options.judge) };
      let moved = 0;
      for (const job of jobs) {
        try {
          const due = await assess(parts, options, job);
          if (due.lateMs <= 0 || upMs < holdMs(parts, due)) continue;
          if (await settle(parts, round, due)) moved += 1;
        } catch (err) {
          // One job that cannot be judged must not hold up the others; the next round looks again.
          const { id: jobId, correlationId } = job;
          const facts = { err, jobId, correlationId };
          parts.log.error(facts, "cannot settle a job whose deadline has passed");
        }
      }
      return moved;
    },
    async expireRecords() {
      while ((await store.expire(now(), limits.expireBatch)) >= limits.expireBatch);
    },
    async expireLogs() {
      const count = await parts.logStore.expire(now());
      if (count > 0) parts.log.debug({ count }, "logs expired");
    },
  };
}

/** Asks once for each class. */
function once<Answer>(ask: (classKey: string) => Promise<Answer>) {
  const answers = new Map<string, Promise<Answer>>();
  return (classKey: string): Promise<Answer> => {
    const answer = answers.get(classKey) ?? ask(classKey);
    answers.set(classKey, answer);
    return answer;
  };
}

async function assess(parts: Parts, options: SweepOptions, job: Job): Promise<Due> {
  const attempt = job.state === "queued" ? undefined : job.attempts.at(-1);
  const worker = attempt === undefined ? undefined : await parts.store.findWorker(attempt.workerId);
  const deadline = (job.deadline ?? Infinity) + options.clock.jumpedSince(job.stateAt);
  return {
    job,
    spec: parts.readSpec(job.spec),
    lateMs: parts.now() - deadline,
    worker: worker?.state === "ended" ? undefined : worker,
  };
}

/** After a restart agents get their time to come back and say how it ended (DESIGN G10). */
function holdMs(parts: Parts, { job, spec, worker }: Due): number {
  if (job.state === "queued" || worker === undefined) return 0;
  if (job.state === "running") return spec.disconnectToleranceMs + parts.limits.graceMs;
  return parts.limits.suspectMs;
}

/** Whether the job was moved; otherwise a later round looks again. */
async function settle(parts: Parts, options: SweepOptions, due: Due): Promise<boolean> {
  const { job } = due;
  switch (job.state) {
    case "queued": {
      const verdicts = await options.judge(job.classKey);
      return move(parts, due, { move: "time_out", failure: queueTimeout(due, verdicts) });
    }
    case "starting":
      return settleStarting(parts, options, due);
    case "running":
      return moveAndStop(parts, options, {
        due,
        move: "time_out",
        failure: executionTimeout(due),
      });
    case "cancelling":
      return moveAndStop(parts, options, { due, move: "end_cancelled", failure: cancelled(due) });
    case "succeeded":
    case "failed":
    case "cancelled":
    case "timed_out":
      return false;
  }
}

type Verdict = Pick<VersionedMove, "move" | "failure">;

/**
 * The go may have reached an agent whose answer did not come back. So a worker of this job alone is ended first, and the job is placed again with the
 * worker's confirmed end; an agent with other jobs is asked to drop it (`attempts-recall.ts`), and its word places it again. Only when nobody can be sure within
 * the tolerance, the job moves without (DESIGN G9).
 */
async function settleStarting(parts: Parts, options: SweepOptions, due: Due): Promise<boolean> {
  const { job, worker, spec } = due;
  const failure = startTimeout(due);
  const isAlone = worker !== undefined && worker.jobs.length <= 1 && worker.jobs.includes(job.id);
  const patienceMs = spec.disconnectToleranceMs + parts.limits.graceMs;
  if (isAlone && due.lateMs <= patienceMs) {
    if (worker.state === "stopping") return false;
    await options.ends.stop(worker.id, failure.message, failure);
    options.changed();
    return false;
  }
  if (worker !== undefined && !isAlone && due.lateMs <= patienceMs) return false;
  const isWorthIt = job.infraRetries < parts.limits.maxInfraRetries;
  const isMoved = isWorthIt
    ? await move(parts, due, { move: "requeue", failure })
    : await move(parts, due, { move: "fail", failure: { ...failure, cause: "too_many_retries" } });
  return isMoved;
}

/** Ends the job, and the worker with it if it had no other, so that no process is left (DESIGN G11). */
async function moveAndStop(
  parts: Parts,
  options: SweepOptions,
  { due, ...verdict }: Verdict & { readonly due: Due },
): Promise<boolean> {
  const isMoved = await move(parts, due, verdict);
  const { worker, job } = due;
  if (!isMoved || worker === undefined) return isMoved;
  if (worker.jobs.every((id) => id === job.id)) {
    await options.ends.stop(worker.id, verdict.failure.message, verdict.failure);
    options.changed();
  }
  return true;
}

async function move(parts: Parts, due: Due, verdict: Verdict): Promise<boolean> {
  const { job, spec } = due;
  const now = parts.now();
  const attempt = job.state === "queued" ? undefined : job.attempts.at(-1);
  if (attempt !== undefined) {
    // A round takes its time, and the log of a job that went on meanwhile must stay open.
    if ((await parts.store.findJob(job.id))?.version !== job.version) return false;
    await parts.logStore.end(attempt.id, { expiresAt: now + spec.logTtlMs, missing: "lost" });
  }
  const next = nextOf(parts, due, verdict);
  const { id: jobId, version } = job;
  const [isMoved] = await parts.store.moveJobs([{ jobId, version, ...verdict, next }], now);
  if (isMoved !== true) return false;
  parts.watch.touch([jobId]);
  parts.metrics?.jobsSwept(job.state);
  const { state, correlationId } = job;
  const { cause } = verdict.failure;
  parts.log.info({ jobId, state, move: verdict.move, cause, correlationId }, "deadline passed");
  if (attempt !== undefined) parts.attempts.fenceAttempt(attempt.workerId, attempt.id);
  if (verdict.move === "requeue") parts.attempts.wake(new Set([job.classKey]));
  return true;
}

function nextOf(parts: Parts, { job, spec }: Due, { move: kind }: Verdict): NextStep {
  const now = parts.now();
  if (kind !== "requeue") return { kind: "over", expiresAt: now + parts.limits.jobTtlMs };
  const { infraRetries } = job;
  const notBefore = now + infraBackoffMs({ infraRetries, random: parts.random() });
  return { kind: "queued", notBefore, deadline: notBefore + spec.queueTimeoutMs, isSpent: false };
}

function failureOf(due: Due, said: Pick<Failure, "stage" | "blame" | "message">, cause: Cause) {
  const { job, worker } = due;
  const attempt = job.attempts.at(-1);
  const evidence: Record<string, string> = { state: job.state };
  if (attempt !== undefined && job.state !== "queued") {
    evidence["worker"] = attempt.workerId;
    evidence["provider"] = attempt.provider;
    evidence["worker_state"] = worker?.state ?? "ended";
  }
  return { ...said, cause, userCodeMayHaveRun: job.state !== "queued", evidence };
}

function queueTimeout(due: Due, verdicts: readonly ProviderVerdict[]): Failure {
  const seconds = Math.round(due.spec.queueTimeoutMs / 1000);
  const isRefused = verdicts.every((verdict) => !verdict.isEligible);
  const message = `did not get a worker within its queue timeout of ${seconds} s`;
  const blame = isRefused ? "provider" : "quota";
  const failure = failureOf(due, { stage: "queued", blame, message }, "queue_timeout");
  const evidence: Record<string, string> = { ...failure.evidence };
  for (const { provider, reason } of verdicts) evidence[provider] = reason;
  return { ...failure, evidence };
}

function startTimeout(due: Due): Failure {
  const message = "the agent did not start the job in time";
  const failure = failureOf(due, { stage: "preparing", blame: "node", message }, "start_timeout");
  // The agent reports the start before anything else; a silent one was given its tolerance.
  return { ...failure, userCodeMayHaveRun: false };
}

function executionTimeout(due: Due): Failure {
  const seconds = Math.round(due.spec.executionTimeoutMs / 1000);
  const message = `ran for longer than its execution timeout of ${seconds} s, and its agent did not end it`;
  return failureOf(due, { stage: "running", blame: "user", message }, "execution_timeout");
}

function cancelled(due: Due): Failure {
  const message = "cancelled; its agent did not confirm the end, so its worker was ended";
  return failureOf(due, { stage: "running", blame: "user", message }, "cancelled");
}
