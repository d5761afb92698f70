import type { DatabaseSync } from "node:sqlite";
import { createSequence } from "#job/id.ts";
import { defaultMaxEvents } from "#job/history.ts";
import { type Draft, JobTable } from "./job-table.ts";
import { Names } from "./names.ts";
import { ReadyIndex, type QueuedJob } from "./ready.ts";
import { type End, jobColumns, type JobRow } from "./rows.ts";
import { WorkerTable } from "./worker-table.ts";

export interface CoreOptions {
  /** Events kept for each job. */
  readonly maxEventsPerJob?: number;
  /** How many turns a tenant takes for one of another; 1 unless named. */
  readonly tenantWeights?: Readonly<Record<string, number>>;
}

/** The state that all steps share: the database, and what is kept in memory of it. */
export class Core {
  readonly db: DatabaseSync;
  readonly names: Names;
  readonly jobs: JobTable;
  readonly workers: WorkerTable;
  readonly nextNumber: (now: number) => number;
  readonly #weights: Readonly<Record<string, number>>;
  ready: ReadyIndex;

  constructor(db: DatabaseSync, options: CoreOptions = {}) {
    this.db = db;
    this.names = new Names(db);
    this.jobs = new JobTable(db, this.names, options.maxEventsPerJob ?? defaultMaxEvents);
    this.workers = new WorkerTable(db);
    this.#weights = options.tenantWeights ?? {};
    this.ready = this.#emptyIndex();
    this.load();
    const last = db.prepare("SELECT max(key) AS last FROM jobs").get()?.["last"];
    this.nextNumber = createSequence(Number(last ?? 0));
  }

  /** Reads from the database what is kept in memory: at boot, and after a transaction that was undone. */
  load(): void {
    this.names.load();
    this.workers.load();
    this.jobs.active.clear();
    this.ready = this.#emptyIndex();
    const queued = this.db.prepare(
      "SELECT key, tenant, class, priority, not_before, state_at FROM jobs INDEXED BY jobs_live WHERE queue_deadline IS NOT NULL AND state = 0",
    );
    queued.setReturnArrays(true);
    const rows: Iterable<unknown> = queued.iterate();
    for (const row of rows) this.#loadQueued(row as QueuedColumns);
    this.ready.sort();
    const active = this.db.prepare(
      `SELECT ${jobColumns} FROM jobs INDEXED BY jobs_live WHERE queue_deadline IS NOT NULL AND state > 0`,
    );
    for (const row of active.iterate()) {
      const job = row as JobRow;
      this.jobs.active.set(job.key, job);
      if (job.worker !== null) this.workers.addJob(job.worker, job.key);
    }
  }

  /** As the table's own, with the price of the worker. */
  endAttempt(draft: Draft, end: Omit<End, "pricePerHour">): void {
    const { worker } = draft.row;
    const pricePerHour = worker === null ? 0 : this.workers.find(worker)?.worker.pricePerHour;
    this.jobs.endAttempt(draft, { ...end, pricePerHour: pricePerHour ?? 0 });
  }

  #emptyIndex(): ReadyIndex {
    const nameOf = (tenant: number) => this.names.textOf(tenant);
    return new ReadyIndex(nameOf, (name) => this.#weights[name] ?? 1);
  }

  #loadQueued([key, tenant, classNumber, priority, notBefore, stateAt]: QueuedColumns): void {
    const job: QueuedJob = { key, tenant, class: classNumber, priority, notBefore };
    this.ready.load(job, notBefore <= stateAt);
  }
}

type QueuedColumns = [number, number, number, number, number, number];
