import type { DatabaseSync, StatementSync } from "node:sqlite";
import { jobIdOf, numberOf, workerIdOf, type WorkerId } from "#job/id.ts";
import { workerMoves, workerStates, type Worker, type WorkerMove } from "#worker/worker.ts";

export interface LiveWorker {
  worker: Omit<Worker, "jobs">;
  readonly otpHash: Uint8Array;
  readonly otpExpiresAt: number;
  sessionHash: Uint8Array | undefined;
}

export type WorkerRow = {
  readonly key: number;
  readonly data: string;
  readonly otpHash: Uint8Array;
  readonly sessionHash: Uint8Array | null;
};

const columns = "key, data, otp_hash AS otpHash, session_hash AS sessionHash";
const ended = workerStates.indexOf("ended");

/** Workers: all on disk, those that are not over in memory too. */
export class WorkerTable {
  readonly live = new Map<number, LiveWorker>();
  readonly #jobs = new Map<number, Set<number>>();
  readonly #insert: StatementSync;
  readonly #update: StatementSync;
  readonly #select: StatementSync;
  readonly #selectLive: StatementSync;

  constructor(db: DatabaseSync) {
    this.#insert = db.prepare(
      "INSERT INTO workers (key, state, data, otp_hash, session_hash, expires_at) VALUES (?, ?, ?, ?, NULL, NULL)",
    );
    this.#update = db.prepare(
      "UPDATE workers SET state = ?, data = ?, session_hash = ?, expires_at = ? WHERE key = ?",
    );
    this.#select = db.prepare(`SELECT ${columns} FROM workers WHERE key = ?`);
    this.#selectLive = db.prepare(
      `SELECT ${columns} FROM workers INDEXED BY workers_live WHERE state < 5 ORDER BY key`,
    );
  }

  load(): void {
    this.live.clear();
    this.#jobs.clear();
    for (const row of this.#selectLive.all() as WorkerRow[]) {
      this.live.set(row.key, decodeWorker(row));
    }
  }

  find(key: number): LiveWorker | undefined {
    const live = this.live.get(key);
    if (live !== undefined) return live;
    const row = this.#select.get(key) as WorkerRow | undefined;
    return row === undefined ? undefined : decodeWorker(row);
  }

  insert(entry: LiveWorker): void {
    const { worker } = entry;
    const key = numberOf(worker.id);
    this.#insert.run(key, workerStates.indexOf(worker.state), encodeWorker(entry), entry.otpHash);
    this.live.set(key, entry);
  }

  save(entry: LiveWorker): void {
    const { worker, sessionHash } = entry;
    const key = numberOf(worker.id);
    const state = workerStates.indexOf(worker.state);
    if (state >= ended) this.live.delete(key);
    const expiresAt = worker.expiresAt ?? null;
    this.#update.run(state, encodeWorker(entry), sessionHash ?? null, expiresAt, key);
  }

  addJob(worker: number, job: number): void {
    const jobs = this.#jobs.get(worker) ?? new Set();
    this.#jobs.set(worker, jobs.add(job));
  }

  removeJob(worker: number, job: number): void {
    const jobs = this.#jobs.get(worker);
    jobs?.delete(job);
    if (jobs?.size === 0) this.#jobs.delete(worker);
  }

  show({ worker }: LiveWorker): Worker {
    const jobs = [...(this.#jobs.get(numberOf(worker.id)) ?? [])];
    return { ...worker, jobs: jobs.toSorted((one, other) => one - other).map(jobIdOf) };
  }
}

/** Makes the move if the worker's state has it. */
export function moveWorker(entry: LiveWorker, move: WorkerMove, set: Partial<Worker>): boolean {
  const { from, to } = workerMoves[move];
  if (!from.includes(entry.worker.state)) return false;
  entry.worker = { ...entry.worker, ...set, state: to };
  return true;
}

type Stored = Omit<Worker, "jobs"> & { readonly otpExpiresAt: number };

function encodeWorker({ worker, otpExpiresAt }: LiveWorker): string {
  return JSON.stringify({ ...worker, otpExpiresAt });
}

function decodeWorker(row: WorkerRow): LiveWorker {
  const { otpExpiresAt, ...stored } = JSON.parse(row.data) as Stored;
  const id: WorkerId = workerIdOf(row.key);
  const worker = { ...absent, ...stored, id };
  const sessionHash = row.sessionHash ?? undefined;
  return { worker, otpHash: row.otpHash, otpExpiresAt, sessionHash };
}

/** JSON leaves out what is undefined, and an older program what it did not know. */
const absent = {
  connection: 0,
  tenant: undefined,
  forJob: undefined,
  isForJobOnly: false,
  pricePerHour: 0,
  resourceUid: undefined,
  readyAt: undefined,
  endedAt: undefined,
  startDeadline: undefined,
  failure: undefined,
  expiresAt: undefined,
};

export { decodeWorker, encodeWorker, columns as workerColumns };
