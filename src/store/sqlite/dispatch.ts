import type { StatementSync } from "node:sqlite";
import { cancelledFailure, movesTo } from "#job/history.ts";
import { jobIdOf, numberOf, timeOfNumber, type JobId, type WorkerId } from "#job/id.ts";
import type { Outcome } from "#job/job.ts";
import { canMove, type JobMove } from "#job/state.ts";
import type {
  Assignment,
  AttemptFinish,
  AttemptStart,
  Claim,
  Demand,
  Fenced,
  Finished,
} from "#store/store.ts";
import { takesAttempts } from "#worker/worker.ts";
import type { Core } from "./core.ts";
import { draftOf, type Draft } from "./job-table.ts";
import { checkNext, goOn } from "./jobs.ts";
import type { QueuedJob } from "./ready.ts";
import { decodeEnded, stateOf } from "./rows.ts";
import type { LiveWorker } from "./worker-table.ts";

/** The steps that assign jobs to workers, and what comes of it. */
export class DispatchSteps {
  readonly #core: Core;
  readonly #selectEnded: StatementSync;
  readonly #selectSubmitted: StatementSync;

  constructor(core: Core) {
    this.#core = core;
    this.#selectEnded = core.db.prepare("SELECT ended FROM jobs WHERE key = ?");
    this.#selectSubmitted = core.db.prepare("SELECT submitted_at AS at FROM jobs WHERE key = ?");
  }

  claimNext(workerId: WorkerId, claim: Claim, now: number): readonly Assignment[] {
    const { workers, names, ready } = this.#core;
    ready.promote(now);
    const assignments: Assignment[] = [];
    const entry = workers.live.get(numberOf(workerId));
    const classNumber = entry && names.findNumber("class", entry.worker.classKey);
    if (entry === undefined || classNumber === undefined) return assignments;
    if (!takesAttempts(entry.worker.state)) return assignments;
    const { connection = entry.worker.connection } = claim;
    if (connection !== entry.worker.connection) return assignments;
    const left = Math.min(claim.count, entry.worker.maxJobs - entry.worker.attempts);
    for (const attemptId of claim.attemptIds.slice(0, Math.max(0, left))) {
      const bound = entry.worker.tenant;
      const tenant = bound === undefined ? undefined : (names.findNumber("tenant", bound) ?? -1);
      const job = this.#takeJob(entry, classNumber, tenant);
      if (job === undefined) break;
      const given = { attemptId, deadline: claim.deadline, now };
      const assignment = this.#assign(job, entry, given);
      assignments.push(assignment);
      const attempts = entry.worker.attempts + 1;
      const binding = claim.bindsTenant ? assignment.tenant : bound;
      entry.worker = { ...entry.worker, tenant: binding, attempts };
    }
    if (assignments.length > 0) workers.save(entry);
    return assignments;
  }

  #takeJob(
    { worker }: LiveWorker,
    classNumber: number,
    tenant: number | undefined,
  ): QueuedJob | undefined {
    const { jobs, ready } = this.#core;
    const { forJob, isForJobOnly } = worker;
    if (!isForJobOnly || forJob === undefined) return ready.take(classNumber, tenant);
    const job = jobs.find(numberOf(forJob));
    if (job === undefined || stateOf(job) !== "queued") return undefined;
    return tenant === undefined || job.tenant === tenant ? ready.takeJob(job) : undefined;
  }

  #assign(
    job: QueuedJob,
    { worker }: LiveWorker,
    given: {
      readonly attemptId: Assignment["attemptId"];
      readonly deadline: number;
      readonly now: number;
    },
  ): Assignment {
    const { jobs, names, workers } = this.#core;
    const { row, correlation, spec } = jobs.getQueued(job);
    row.attempts++;
    row.attemptId = given.attemptId;
    row.worker = numberOf(worker.id);
    row.provider = names.numberOf("provider", worker.provider);
    row.assignedAt = given.now;
    row.startedAt = null;
    const draft = draftOf(row);
    jobs.move(draft, { move: "start", now: given.now, message: `assigned to worker ${worker.id}` });
    row.deadline = given.deadline;
    jobs.save(draft);
    workers.addJob(row.worker, job.key);
    return {
      jobId: jobIdOf(job.key),
      attemptId: given.attemptId,
      attemptNumber: row.attempts,
      tenant: names.textOf(row.tenant),
      spec,
      correlationId: correlation,
      spentAttempts: row.spent,
      infraRetries: row.infra,
    };
  }

  startAttempts(starts: readonly AttemptStart[], now: number): readonly Fenced[] {
    return starts.map((start) => this.#startAttempt(start, now));
  }

  #startAttempt(start: AttemptStart, now: number): Fenced {
    const { jobs } = this.#core;
    const row = jobs.active.get(numberOf(start.jobId));
    if (row === undefined || row.attemptId !== start.attemptId) return "fenced";
    if (!canMove(stateOf(row), "run")) return "ok";
    const draft = draftOf(row);
    jobs.move(draft, { move: "run", now, message: "started" });
    row.startedAt = start.startedAt;
    row.deadline = start.deadline;
    jobs.save(draft);
    return "ok";
  }

  finishAttempts(finishes: readonly AttemptFinish[], now: number): readonly Finished[] {
    for (const finish of finishes) checkNext(finish.move, finish.next);
    this.#core.ready.promote(now);
    return finishes.map((finish) => this.#finishAttempt(finish, now));
  }

  #finishAttempt(finish: AttemptFinish, now: number): Finished {
    const { jobs } = this.#core;
    const row = jobs.active.get(numberOf(finish.jobId));
    if (row === undefined || row.attemptId !== finish.attemptId) {
      return this.#isRepeat(finish) ? "repeat" : "fenced";
    }
    const draft = draftOf(row);
    const hasStarted = finish.outcome.startedAt !== undefined;
    for (const move of movesTo(finish.move, { state: stateOf(row), hasStarted })) {
      this.#finishStep(draft, { move, finish, now });
    }
    jobs.save(draft);
    return "ok";
  }

  #isRepeat({ jobId, attemptId, outcome }: AttemptFinish): boolean {
    const ended = this.#selectEnded.get(numberOf(jobId))?.["ended"];
    if (typeof ended !== "string" || !ended.includes(attemptId)) return false;
    return decodeEnded(ended, this.#core.names).some(
      (attempt) =>
        attempt.id === attemptId &&
        attempt.endedAt === outcome.endedAt &&
        attempt.exitCode === outcome.exitCode &&
        attempt.signal === outcome.signal,
    );
  }

  #finishStep(
    draft: Draft,
    step: { readonly move: JobMove; readonly finish: AttemptFinish; readonly now: number },
  ): void {
    const { move, finish, now } = step;
    const { jobs, workers } = this.#core;
    const { row } = draft;
    const { outcome } = finish;
    if (move === "run") {
      jobs.move(draft, { move, now, message: "started" });
      row.startedAt = outcome.startedAt ?? now;
      return;
    }
    if (move === "cancel") {
      jobs.move(draft, { move, now, message: "ended as cancelled" });
      return;
    }
    const failure = failureOf(move, outcome);
    if (row.worker !== null) workers.removeJob(row.worker, row.key);
    jobs.move(draft, { move, now, message: failure?.message ?? "succeeded", failure });
    this.#core.endAttempt(draft, { ...outcome, failure });
    if (move === "requeue") {
      goOn(this.#core, draft, finish.next);
      return;
    }
    const { next } = finish;
    row.expiresAt = next.kind === "over" ? next.expiresAt : finish.expiresAt;
    row.failure = failure === undefined ? null : JSON.stringify(failure);
  }

  readDemand(now: number): readonly Demand[] {
    const { ready, names } = this.#core;
    ready.promote(now);
    return [...ready.kinds()].map(({ tenant, class: classNumber, lane }) => {
      const oldest = lane.peek();
      return {
        tenant: names.textOf(tenant),
        classKey: names.textOf(classNumber),
        priority: lane.priority,
        queued: lane.ready,
        waiting: lane.waiting.size,
        oldestAt: oldest === undefined ? 0 : this.#submittedAt(oldest),
      };
    });
  }

  #submittedAt(key: number): number {
    return Number(this.#selectSubmitted.get(key)?.["at"] ?? timeOfNumber(key));
  }

  countAhead(id: JobId): number | undefined {
    const row = this.#core.jobs.find(numberOf(id));
    if (row === undefined || stateOf(row) !== "queued") return undefined;
    return this.#core.ready.countAhead(row);
  }
}

function failureOf(move: JobMove, outcome: Outcome): Outcome["failure"] {
  if (outcome.failure !== undefined || move !== "end_cancelled") return outcome.failure;
  return cancelledFailure(outcome.startedAt === undefined ? "preparing" : "running", "cancelled");
}
