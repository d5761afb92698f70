import type { StatementSync } from "node:sqlite";
import { HodeiError } from "#error.ts";
import { cancelledFailure } from "#job/history.ts";
import { jobIdOf, numberOf, type JobId } from "#job/id.ts";
import type { Job, JobEvent } from "#job/job.ts";
import { canMove } from "#job/state.ts";
import type {
  NewAuditEntry,
  NewCancel,
  NewJob,
  NewStage,
  NextStep,
  SubmitAudit,
  SubmitOutcome,
  VersionedMove,
} from "#store/store.ts";
import { describeSubmit } from "#tenant/audit.ts";
import { isSameHash } from "#worker/secret.ts";
import type { Core } from "./core.ts";
import { draftOf, firstFinal, type Draft } from "./job-table.ts";
import { answerBytes } from "./lists.ts";
import { stateOf, type JobRow } from "./rows.ts";

type KeyRow = {
  readonly job: number;
  readonly hash: Uint8Array;
  readonly expiresAt: number;
  readonly version: number;
};

/** The steps of a job's life that need no worker. */
export class JobSteps {
  readonly #core: Core;
  readonly #appendAudit: (entry: NewAuditEntry) => void;
  readonly #insertSpec: StatementSync;
  readonly #selectKey: StatementSync;
  readonly #putKey: StatementSync;
  readonly #selectDue: StatementSync;

  constructor(core: Core, appendAudit: (entry: NewAuditEntry) => void) {
    this.#core = core;
    this.#appendAudit = appendAudit;
    this.#insertSpec = core.db.prepare(
      "INSERT INTO specs (key, name, labels, correlation, spec) VALUES (?, ?, ?, ?, ?)",
    );
    this.#selectKey = core.db.prepare(
      `SELECT job, hash, keys.expires_at AS expiresAt, version FROM keys JOIN jobs ON jobs.key = keys.job
        WHERE keys.tenant = ? AND keys.key = ?`,
    );
    this.#putKey = core.db.prepare(
      "INSERT OR REPLACE INTO keys (tenant, key, job, hash, expires_at) VALUES (?, ?, ?, ?, ?)",
    );
    this.#selectDue = core.db.prepare(
      `SELECT key, deadline FROM jobs INDEXED BY jobs_live WHERE queue_deadline <= ? AND state = 0
        ORDER BY queue_deadline, key LIMIT ?`,
    );
  }

  submitJobs(jobs: readonly NewJob[], now: number, audit?: SubmitAudit): readonly SubmitOutcome[] {
    this.#core.ready.promote(now);
    const outcomes = jobs.map((job) => this.#submitJob(job, now));
    if (audit !== undefined) this.#appendAudit({ ...audit, ...describeSubmit(outcomes) });
    return outcomes;
  }

  #submitJob(job: NewJob, now: number): SubmitOutcome {
    const { names, jobs, ready } = this.#core;
    const known = names.findNumber("tenant", job.tenant);
    const queued = known === undefined ? 0 : ready.countQueued(known);
    const earlier = known === undefined ? undefined : this.#findKey(known, job, now);
    if (earlier !== undefined) return earlier;
    if (queued >= job.maxQueued) return { kind: "quota", queued };

    const key = this.#core.nextNumber(now);
    const tenant = known ?? names.numberOf("tenant", job.tenant);
    const classNumber = names.numberOf("class", job.classKey);
    const { name, labels, correlationId, spec, priority, deadline } = job;
    this.#insertSpec.run(key, name, JSON.stringify(labels), correlationId, spec);
    const message = `submitted by ${job.actor}`;
    jobs.insert({ key, tenant, class: classNumber, priority, now, deadline, message });
    if (job.idempotency !== undefined) {
      const { specHash, expiresAt } = job.idempotency;
      this.#putKey.run(tenant, job.idempotency.key, key, specHash, expiresAt);
    }
    ready.add({ key, tenant, class: classNumber, priority, notBefore: now });
    return { kind: "accepted", id: jobIdOf(key), version: 1, alreadyExisted: false };
  }

  #findKey(tenant: number, job: NewJob, now: number): SubmitOutcome | undefined {
    if (job.idempotency === undefined) return undefined;
    const row = this.#selectKey.get(tenant, job.idempotency.key) as KeyRow | undefined;
    if (row === undefined || row.expiresAt <= now) return undefined;
    const id = jobIdOf(row.job);
    if (!isSameHash(row.hash, job.idempotency.specHash)) return { kind: "conflict", id };
    return { kind: "accepted", id, version: row.version, alreadyExisted: true };
  }

  findJob(id: JobId): Job | undefined {
    return this.#core.jobs.findWhole(numberOf(id));
  }

  listEvents(id: JobId, afterSequence: number, limit: number): readonly JobEvent[] {
    const events = this.#core.jobs.listEvents(numberOf(id));
    return events.filter((event) => event.sequence > afterSequence).slice(0, limit);
  }

  recordStages(given: readonly NewStage[], now: number): void {
    const { jobs } = this.#core;
    for (const { jobId, stage, workerId, message, failure } of given) {
      const row = jobs.find(numberOf(jobId));
      if (row === undefined || row.state >= firstFinal) continue;
      const draft = draftOf(row);
      const attempt = row.attemptId === null ? 0 : row.attempts;
      jobs.tell(draft, { at: now, stage, attempt, workerId, message, failure });
      jobs.save(draft);
    }
  }

  cancelJob(id: JobId, cancel: NewCancel, now: number): Job {
    const { jobs, ready } = this.#core;
    const row = jobs.find(numberOf(id));
    if (row === undefined) throw new HodeiError("not_found", `job ${id} is not known`);
    const state = stateOf(row);
    if (row.state >= firstFinal) {
      throw new HodeiError("failed_precondition", `job ${id} is over: it ${state}`);
    }
    if (state === "cancelling") return jobs.getWhole(row.key);
    const why = cancel.reason === "" ? "" : `: ${cancel.reason}`;
    const message = `cancelled by ${cancel.actor}${why}`;
    const draft = draftOf(row);
    if (state === "queued") {
      ready.remove(row);
      const failure = cancelledFailure("queued", message);
      jobs.move(draft, { move: "end_cancelled", now, message, failure });
      row.failure = JSON.stringify(failure);
      row.expiresAt = cancel.expiresAt;
    } else {
      jobs.move(draft, { move: "cancel", now, message });
      row.deadline = cancel.deadline;
    }
    jobs.save(draft);
    return jobs.getWhole(row.key);
  }

  listDue(now: number, limit: number): readonly Job[] {
    const { jobs } = this.#core;
    const due = this.#selectDue.all(now, limit) as { key: number; deadline: number }[];
    for (const { key, deadline } of jobs.active.values()) {
      if (deadline !== null && deadline <= now) due.push({ key, deadline });
    }
    due.sort((one, other) => one.deadline - other.deadline || one.key - other.key);
    const found: Job[] = [];
    let bytes = 0;
    for (const { key } of due.slice(0, limit)) {
      const job = jobs.getWhole(key);
      found.push(job);
      bytes += job.spec.length;
      if (bytes > answerBytes) break;
    }
    return found;
  }

  moveJobs(moves: readonly VersionedMove[], now: number): readonly boolean[] {
    for (const move of moves) checkNext(move.move, move.next);
    this.#core.ready.promote(now);
    return moves.map((move) => this.#moveJob(move, now));
  }

  #moveJob(given: VersionedMove, now: number): boolean {
    const { jobs, ready, workers } = this.#core;
    const row = jobs.find(numberOf(given.jobId));
    if (row === undefined || row.version !== given.version) return false;
    const { move, failure, next } = given;
    const state = stateOf(row);
    if (!canMove(state, move)) return false;
    if (state === "queued") ready.remove(row);
    if (row.worker !== null) workers.removeJob(row.worker, row.key);
    const draft = draftOf(row);
    jobs.move(draft, { move, now, message: failure.message, failure });
    const unknown = { startedAt: undefined, exitCode: undefined, signal: undefined };
    this.#core.endAttempt(draft, { ...unknown, endedAt: now, failure, peak: undefined });
    goOn(this.#core, draft, next);
    if (next.kind === "over") row.failure = JSON.stringify(failure);
    jobs.save(draft);
    return true;
  }
}

/** Puts the job back in the queue, or sets when its record is deleted. To be called after the move. */
export function goOn({ ready }: Core, { row }: Draft, next: NextStep): void {
  if (next.kind === "over") {
    row.expiresAt = next.expiresAt;
    return;
  }
  row.notBefore = next.notBefore;
  row.deadline = next.deadline;
  if (next.isSpent) row.spent++;
  else row.infra++;
  ready.add(queuedOf(row));
}

function queuedOf({ key, tenant, class: classNumber, priority, notBefore }: JobRow) {
  return { key, tenant, class: classNumber, priority, notBefore };
}

export function checkNext(move: string, next: NextStep): void {
  if ((move === "requeue") !== (next.kind === "queued")) {
    throw new HodeiError("invalid_argument", `${move} cannot be followed by ${next.kind}`);
  }
}
