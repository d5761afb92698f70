import type { DatabaseSync, StatementSync } from "node:sqlite";
import { boundEvents, stageOf } from "#job/history.ts";
import { numberOf, workerIdOf, type WorkerId } from "#job/id.ts";
import type { Failure, Stage } from "#job/failure.ts";
import type { Job, JobEvent } from "#job/job.ts";
import { isFinal, moveJob, type JobMove } from "#job/state.ts";
import type { Names } from "./names.ts";
import type { QueuedJob } from "./ready.ts";
import {
  decodeEvents,
  decodeJob,
  encodeEnded,
  encodeEvent,
  jobColumns,
  stateNumber,
  stateOf,
  wholeColumns,
  type End,
  type JobRow,
  type WholeRow,
} from "./rows.ts";

/** A job's row under change, and the lines that are to be appended to it. */
export interface Draft {
  readonly row: JobRow;
  history: string;
  ended: string;
}

export interface Change {
  readonly move: JobMove;
  readonly now: number;
  readonly message: string;
  readonly failure?: Failure | undefined;
}

interface NewEvent {
  readonly at: number;
  readonly stage: Stage;
  readonly attempt: number;
  readonly workerId: WorkerId | undefined;
  readonly message: string;
  readonly failure: Failure | undefined;
}

type QueuedColumns = readonly [
  version: number,
  submittedAt: number,
  stateAt: number,
  notBefore: number,
  deadline: number,
  spent: number,
  infra: number,
  attempts: number,
  sequence: number,
  kept: number,
  correlation: string,
  spec: Uint8Array,
];

/** The jobs on disk. Those that are on a worker are kept in memory too, since they change soon and often. */
export class JobTable {
  /** Jobs that are starting, running or cancelling. */
  readonly active = new Map<number, JobRow>();
  readonly #names: Names;
  readonly #maxEvents: number;
  readonly #select: StatementSync;
  readonly #selectWhole: StatementSync;
  readonly #selectHistory: StatementSync;
  readonly #selectQueued: StatementSync;
  readonly #insert: StatementSync;
  readonly #update: StatementSync;
  readonly #updateActive: StatementSync;
  readonly #replaceHistory: StatementSync;

  constructor(db: DatabaseSync, names: Names, maxEvents: number) {
    this.#names = names;
    this.#maxEvents = maxEvents;
    this.#select = db.prepare(`SELECT ${jobColumns} FROM jobs WHERE key = ?`);
    this.#selectWhole = db.prepare(
      `SELECT ${wholeColumns} FROM jobs JOIN specs ON specs.key = jobs.key WHERE jobs.key = ?`,
    );
    this.#selectQueued = db.prepare(
      `SELECT version, submitted_at, state_at, not_before, deadline, spent, infra, attempts, sequence, kept, correlation, spec
        FROM jobs JOIN specs ON specs.key = jobs.key WHERE jobs.key = ?`,
    );
    this.#selectQueued.setReturnArrays(true);
    this.#selectHistory = db.prepare("SELECT history FROM jobs WHERE key = ?");
    this.#insert = db.prepare(
      `INSERT INTO jobs (key, state, version, tenant, class, priority, submitted_at, state_at, not_before, deadline, queue_deadline,
        spent, infra, attempts, sequence, kept, ended, history) VALUES (?, 0, 1, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 1, 1, '', ?)`,
    );
    this.#update = db.prepare(
      `UPDATE jobs SET state = ?, version = ?, state_at = ?, not_before = ?, deadline = ?, queue_deadline = ?, ended_at = ?, expires_at = ?, spent = ?,
        infra = ?, attempts = ?, attempt_id = NULL, worker = NULL, provider = NULL, assigned_at = NULL, started_at = NULL,
        sequence = ?, kept = ?, failure = ?, ended = ended || ?, history = history || ? WHERE key = ?`,
    );
    this.#updateActive = db.prepare(
      `UPDATE jobs SET state = ?, version = ?, state_at = ?, deadline = ?, attempts = ?, attempt_id = ?, worker = ?, provider = ?,
        assigned_at = ?, started_at = ?, sequence = ?, kept = ?, history = history || ? WHERE key = ?`,
    );
    this.#replaceHistory = db.prepare("UPDATE jobs SET history = ? WHERE key = ?");
  }

  /** The row to read or change; one that is changed must be saved. */
  find(key: number): JobRow | undefined {
    return this.active.get(key) ?? (this.#select.get(key) as JobRow | undefined);
  }

  /** A job that was taken from the queue, with what its worker needs. The narrow way, since this is the hot path. */
  getQueued(job: QueuedJob): { row: JobRow; correlation: string; spec: Uint8Array } {
    const found: unknown = this.#selectQueued.get(job.key);
    if (found === undefined) throw new Error(`job number ${job.key} has no row`);
    const columns = found as QueuedColumns;
    const [version, submittedAt, stateAt, notBefore, deadline, spent, infra] = columns;
    const [, , , , , , , attempts, sequence, kept, correlation, spec] = columns;
    const row: JobRow = {
      key: job.key,
      state: 0,
      version,
      tenant: job.tenant,
      class: job.class,
      priority: job.priority,
      submittedAt,
      stateAt,
      notBefore,
      deadline,
      endedAt: null,
      expiresAt: null,
      spent,
      infra,
      attempts,
      attemptId: null,
      worker: null,
      provider: null,
      assignedAt: null,
      startedAt: null,
      sequence,
      kept,
      failure: null,
    };
    return { row, correlation, spec };
  }

  findWhole(key: number): Job | undefined {
    const row = this.#selectWhole.get(key) as WholeRow | undefined;
    return row === undefined ? undefined : decodeJob(row, this.#names);
  }

  getWhole(key: number): Job {
    const job = this.findWhole(key);
    if (job === undefined) throw new Error(`job number ${key} has no row`);
    return job;
  }

  listEvents(key: number): readonly JobEvent[] {
    const row = this.#selectHistory.get(key);
    return row === undefined ? [] : decodeEvents(String(row["history"]));
  }

  /** Adds a queued job. */
  insert(job: {
    readonly key: number;
    readonly tenant: number;
    readonly class: number;
    readonly priority: number;
    readonly now: number;
    readonly deadline: number;
    readonly message: string;
  }): void {
    const { key, tenant, priority, now, deadline, message } = job;
    const event = encodeEvent({
      sequence: 1,
      version: 1,
      at: now,
      state: "queued",
      stage: "queued",
      attempt: 0,
      worker: 0,
      message,
      failure: undefined,
      dropped: 0,
    });
    this.#insert.run(key, tenant, job.class, priority, now, now, now, deadline, deadline, event);
  }

  /** Makes one move: the new state, one more version, one event. */
  move(draft: Draft, change: Change): void {
    const { row } = draft;
    const before = stateOf(row);
    const to = moveJob(before, change.move);
    row.state = stateNumber(to);
    row.version++;
    row.stateAt = change.now;
    if (isFinal(to)) {
      row.endedAt = change.now;
      row.deadline = null;
    }
    this.tell(draft, {
      at: change.now,
      stage: stageOf(to, before),
      attempt: row.attemptId === null ? 0 : row.attempts,
      workerId: row.worker === null ? undefined : workerIdOf(row.worker),
      message: change.message,
      failure: change.failure,
    });
  }

  /** Ends the current attempt, if there is one. To be called after the move that ends it, so that its event names the attempt. */
  endAttempt(draft: Draft, end: End): void {
    const { row } = draft;
    if (row.attemptId === null) return;
    draft.ended += encodeEnded(row, end);
    row.attemptId = null;
    row.worker = null;
    row.provider = null;
    row.assignedAt = null;
    row.startedAt = null;
  }

  /** Adds an event to the history. */
  tell(draft: Draft, event: NewEvent): void {
    const { row } = draft;
    row.sequence++;
    row.kept++;
    const worker = event.workerId === undefined ? 0 : numberOf(event.workerId);
    const { sequence, version } = row;
    const { at, stage, attempt, message, failure } = event;
    draft.history += encodeEvent({
      sequence,
      version,
      at,
      state: stateOf(row),
      stage,
      attempt,
      worker,
      message,
      failure,
      dropped: 0,
    });
  }

  save(draft: Draft): void {
    const { row } = draft;
    const isLong = row.kept > this.#maxEvents;
    const history = isLong ? this.#shorten(draft) : undefined;
    const isActive = row.state > 0 && row.state < firstFinal;
    if (isActive) this.#saveActive(draft, isLong ? "" : draft.history);
    else this.#saveWhole(draft, isLong ? "" : draft.history);
    if (history !== undefined) this.#replaceHistory.run(history, row.key);
  }

  /** What an attempt changes while it lasts; no index has it. */
  #saveActive({ row }: Draft, history: string): void {
    this.active.set(row.key, row);
    this.#updateActive.run(
      row.state,
      row.version,
      row.stateAt,
      row.deadline,
      row.attempts,
      row.attemptId,
      row.worker,
      row.provider,
      row.assignedAt,
      row.startedAt,
      row.sequence,
      row.kept,
      history,
      row.key,
    );
  }

  #saveWhole({ row, ended }: Draft, history: string): void {
    this.active.delete(row.key);
    this.#update.run(
      row.state,
      row.version,
      row.stateAt,
      row.notBefore,
      row.deadline,
      row.deadline, // It is queued, or over and has none.
      row.endedAt,
      row.expiresAt,
      row.spent,
      row.infra,
      row.attempts,
      row.sequence,
      row.kept,
      row.failure,
      ended,
      history,
      row.key,
    );
  }

  #shorten(draft: Draft): string {
    let events = this.listEvents(draft.row.key);
    for (const event of decodeEvents(draft.history)) {
      events = boundEvents([...events, event], this.#maxEvents);
    }
    draft.row.kept = events.length;
    return events
      .map(({ workerId, ...event }) =>
        encodeEvent({ ...event, worker: workerId === undefined ? 0 : numberOf(workerId) }),
      )
      .join("");
  }
}

export const firstFinal = 4;

export function draftOf(row: JobRow): Draft {
  return { row, history: "", ended: "" };
}
