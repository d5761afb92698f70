import type { AttemptId, WorkerId } from "#job/id.ts";
import type { Job, Outcome } from "#job/job.ts";
import { judge } from "#job/retry.ts";
import type { AttemptFinish, Finished } from "#store/store.ts";
import { type Ground, Held, type Side } from "./attempts-side.ts";
import type { Starts } from "./attempts-starts.ts";
import type { Dispatch } from "./dispatch.ts";
import type { ResultReport } from "./scheduler.ts";

interface Finish {
  readonly finish: AttemptFinish;
  /** For the log. */
  readonly facts: Held["facts"];
  /** Undefined: nobody has it in memory. */
  readonly held: Held | undefined;
  readonly side: Side | undefined;
  readonly classKey: string;
  readonly backoffMs: number;
  readonly stored: (answer: Finished) => void;
}

/** Most pauses of jobs that back off which are waited for here; the provision loop wakes the others. */
const maxPauses = 1_000;

/**
 * Stores how attempts ended. All that comes in one turn of the event loop is one step of the store, and the claims for the slots
 * that became free are given in the same turn, so that they share its commit.
 */
export class Finishes {
  readonly #ground: Ground;
  readonly #dispatch: Dispatch;
  readonly #starts: Starts;
  readonly #pauses = new Set<NodeJS.Timeout>();
  #gathered: Finish[] = [];

  constructor(ground: Ground, dispatch: Dispatch, starts: Starts) {
    this.#ground = ground;
    this.#dispatch = dispatch;
    this.#starts = starts;
  }

  /** The outcome of an attempt that a connected worker has. */
  report(side: Side, held: Held, outcome: Outcome): void {
    held.phase = "storing";
    side.storing++;
    side.hasShortJobs = isShort(outcome);
    this.#starts.settle(held);
    const { classKey } = side;
    this.#gather({ ...this.#judge(held, outcome), held, side, classKey, stored: () => undefined });
  }

  /** A result of an attempt that nobody has in memory: a repeat is answered as the first time, anything else is fenced. */
  repeat(side: Side, job: Job, report: ResultReport): void {
    const held = heldOf(job, report.attemptId);
    const { classKey } = side;
    const finish = this.#judge(held, report.outcome);
    const stored = (answer: Finished): void => this.#answer(side, report.attemptId, answer);
    this.#gather({ ...finish, held: undefined, side: undefined, classKey, stored });
  }

  /** Ends an attempt on its agent's behalf; resolves once that is stored. */
  async lose(job: Job, attemptId: AttemptId, outcome: Outcome): Promise<Finished> {
    const finish = this.#judge(heldOf(job, attemptId), outcome);
    const { classKey } = job;
    return new Promise((stored, rejected) => {
      const lost = { ...finish, held: undefined, side: undefined, classKey, stored, rejected };
      this.#gather(lost);
    });
  }

  stop(): void {
    for (const pause of this.#pauses) clearTimeout(pause);
    this.#pauses.clear();
  }

  #judge(held: Held, outcome: Outcome): Pick<Finish, "finish" | "facts" | "backoffMs"> {
    const { limits, readSpec } = this.#ground;
    const { jobId, attemptId, facts } = held;
    const now = this.#ground.now();
    const expiresAt = now + limits.jobTtlMs;
    if (outcome.failure === undefined) {
      const next = { kind: "over" as const, expiresAt };
      return {
        finish: { jobId, attemptId, outcome, move: "succeed", next, expiresAt },
        facts,
        backoffMs: 0,
      };
    }
    const spec = held.readSpec(readSpec);
    const { spentAttempts, infraRetries } = held;
    const verdict = judge(spec, outcome.failure, {
      spentAttempts,
      infraRetries,
      maxInfraRetries: limits.maxInfraRetries,
      random: this.#ground.random(),
    });
    const { move, backoffMs, isSpent } = verdict;
    const notBefore = now + backoffMs;
    const deadline = notBefore + spec.queueTimeoutMs;
    const next =
      move === "requeue"
        ? { kind: "queued" as const, notBefore, deadline, isSpent }
        : { kind: "over" as const, expiresAt };
    return { finish: { jobId, attemptId, outcome, move, next, expiresAt }, facts, backoffMs };
  }

  #gather(finish: Finish & { readonly rejected?: (error: unknown) => void }): void {
    if (this.#gathered.push(finish) > 1) return;
    queueMicrotask(() => void this.#store());
  }

  async #store(): Promise<void> {
    const finishes: (Finish & { readonly rejected?: (error: unknown) => void })[] = this.#gathered;
    this.#gathered = [];
    const { store, watch, log } = this.#ground;
    const steps = finishes.map(({ finish }) => finish);
    const storing = store.finishAttempts(steps, this.#ground.now());
    const sides = new Set<Side>();
    for (const { side } of finishes) if (side !== undefined) sides.add(side);
    for (const side of sides) void this.#dispatch.claim(side);
    try {
      const answers = await storing;
      finishes.forEach((one, index) => this.#settle(one, answers[index] ?? "fenced"));
      watch.touch(steps.map(({ jobId }) => jobId));
    } catch (error) {
      log.error({ err: error, attempts: steps.length }, "results were not stored");
      for (const { held, side, rejected } of finishes) {
        if (held !== undefined) held.phase = "running";
        if (side !== undefined) side.storing--;
        rejected?.(error);
        // The agent keeps its result, and sends it again over a new connection.
        side?.link?.close("unavailable");
      }
    }
  }

  #settle(one: Finish, answer: Finished): void {
    const { held, side, finish, classKey, backoffMs } = one;
    one.stored(answer);
    if (side !== undefined && held !== undefined) {
      side.storing--;
      side.attempts.delete(held.attemptId);
      this.#answer(side, held.attemptId, answer);
    }
    if (answer !== "ok") return;
    this.#ground.count("finished");
    this.#ground.log.info(
      { ...one.facts, move: finish.move, cause: finish.outcome.failure?.cause },
      "attempt ended",
    );
    if (finish.move !== "requeue") return;
    this.#ground.count("requeued");
    if (backoffMs < 1) this.#dispatch.wake(classKey);
    else this.#wakeLater(classKey, backoffMs);
  }

  #answer(side: Side, attemptId: AttemptId, answer: Finished): void {
    if (answer === "fenced") this.#ground.count("fenced");
    side.link?.acknowledge(attemptId, answer === "fenced" ? answer : "ok");
  }

  #wakeLater(classKey: string, pauseMs: number): void {
    if (this.#pauses.size >= maxPauses) return;
    const pause = setTimeout(() => {
      this.#pauses.delete(pause);
      this.#dispatch.wake(classKey);
    }, pauseMs + 1).unref();
    this.#pauses.add(pause);
  }
}

/** The attempt was over before its start was worth a commit of its own. */
function isShort({ startedAt, endedAt }: Outcome): boolean {
  return startedAt !== undefined && endedAt - startedAt < shortMs;
}

const shortMs = 30;

/** What judging needs of a job that nobody has in memory. */
export function heldOf(job: Job, attemptId: AttemptId): Held {
  const { id: jobId, spec, spentAttempts, infraRetries, correlationId } = job;
  const attemptNumber = job.attempts.find(({ id }) => id === attemptId)?.number ?? 0;
  const assigned = { jobId, attemptId, attemptNumber, spec, spentAttempts, infraRetries };
  return new Held({ ...assigned, correlationId }, 0);
}

/** Whether the attempt is one of the job's that this worker has ended. */
export function hasEnded(
  job: Job | undefined,
  workerId: WorkerId,
  attemptId: AttemptId,
): job is Job {
  const attempt = job?.attempts.find(({ id }) => id === attemptId);
  return attempt?.workerId === workerId && attempt.state === "ended";
}
