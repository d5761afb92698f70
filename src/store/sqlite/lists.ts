import type { StatementSync } from "node:sqlite";
import { HodeiError } from "#error.ts";
import {
  isJobId,
  isWorkerId,
  jobIdOf,
  numberAtTime,
  numberOf,
  workerIdOf,
  type JobId,
  type WorkerId,
} from "#job/id.ts";
import type { Job } from "#job/job.ts";
import type { JobQuery, Page, WorkerQuery } from "#store/store.ts";
import type { Worker } from "#worker/worker.ts";
import type { Core } from "./core.ts";
import { firstFinal } from "./job-table.ts";
import { stateNumber, type JobRow } from "./rows.ts";
import { decodeWorker, workerColumns } from "./worker-table.ts";

/** Rows looked at for one page, so that no list holds up the writes for long. */
const scanLimit = 2_000;
/** Specs in one answer, in bytes; more jobs come with the next page or look. */
export const answerBytes = 8 * 1024 * 1024;

type Candidate = { readonly key: number; readonly state: number; readonly submittedAt: number };
type WorkerCandidate = Parameters<typeof decodeWorker>[0];

/** Pages of jobs and workers, newest first. */
export class ListSteps {
  readonly #core: Core;
  readonly #scan: StatementSync;
  readonly #scanTenant: StatementSync;
  readonly #selectText: StatementSync;
  readonly #scanWorkers: StatementSync;

  constructor(core: Core) {
    this.#core = core;
    const scan = (where: string) =>
      core.db.prepare(
        `SELECT key, state, submitted_at AS submittedAt FROM jobs WHERE ${where} key < ? AND key >= ? ORDER BY key DESC LIMIT ?`,
      );
    this.#scan = scan("");
    this.#scanTenant = scan("tenant = ? AND");
    this.#selectText = core.db.prepare("SELECT name, labels FROM specs WHERE key = ?");
    this.#scanWorkers = core.db.prepare(
      `SELECT ${workerColumns} FROM workers WHERE key < ? ORDER BY key DESC LIMIT ?`,
    );
  }

  listJobs(query: JobQuery): Page<Job> {
    const from = tokenNumber(query.pageToken, isJobId) ?? Number.MAX_SAFE_INTEGER;
    const candidates = this.#candidates(query, from);
    const fits = this.#jobFilter(query);
    return page<Candidate, Job>(candidates, {
      pageSize: query.pageSize,
      isWhole: candidates.length < scanLimit,
      show: (row) => (fits(row) ? this.#core.jobs.findWhole(row.key) : undefined),
      tokenOf: (row) => jobIdOf(row.key),
      bytesOf: (job) => job.spec.length,
    });
  }

  #candidates(query: JobQuery, below: number): readonly Candidate[] {
    const { names, jobs } = this.#core;
    const bound = query.tenant;
    const tenant = bound === undefined ? undefined : names.findNumber("tenant", bound);
    if (bound !== undefined && tenant === undefined) return [];
    const numbers = query.states.map(stateNumber);
    if (numbers.length > 0 && numbers.every((state) => state > 0 && state < firstFinal)) {
      const isMine = (row: JobRow) => tenant === undefined || row.tenant === tenant;
      const rows = [...jobs.active.values()].filter((row) => row.key < below && isMine(row));
      return rows.sort((one, other) => other.key - one.key).slice(0, scanLimit);
    }
    // A job's number is never smaller than its time's, but may be greater after the clock went back.
    const least = Math.floor(numberAtTime(query.submittedAfter ?? 0));
    if (tenant === undefined) return this.#scan.all(below, least, scanLimit) as Candidate[];
    return this.#scanTenant.all(tenant, below, least, scanLimit) as Candidate[];
  }

  #jobFilter(query: JobQuery): (row: Candidate) => boolean {
    const states = new Set(query.states.map(stateNumber));
    const text = query.text.toLowerCase();
    const labels = Object.entries(query.labels);
    const after = query.submittedAfter ?? 0;
    const before = query.submittedBefore ?? Infinity;
    return (row) => {
      if (states.size > 0 && !states.has(row.state)) return false;
      if (row.submittedAt < after || row.submittedAt >= before) return false;
      return (text === "" && labels.length === 0) || this.#hasText(row.key, text, labels);
    };
  }

  #hasText(key: number, text: string, labels: readonly [string, string][]): boolean {
    const row = this.#selectText.get(key);
    const own = JSON.parse(String(row?.["labels"] ?? "{}")) as Job["labels"];
    if (!labels.every(([name, value]) => own[name] === value)) return false;
    const name = String(row?.["name"] ?? "");
    return name.toLowerCase().includes(text) || jobIdOf(key).includes(text);
  }

  listWorkers(query: WorkerQuery): Page<Worker> {
    const { workers } = this.#core;
    const below = tokenNumber(query.pageToken, isWorkerId) ?? Number.MAX_SAFE_INTEGER;
    const rows = this.#scanWorkers.all(below, scanLimit) as WorkerCandidate[];
    return page<WorkerCandidate, Worker>(rows, {
      pageSize: query.pageSize,
      isWhole: rows.length < scanLimit,
      show: (row) => {
        const worker = workers.show(decodeWorker(row));
        return fitsWorker(worker, query) ? worker : undefined;
      },
      tokenOf: (row) => workerIdOf(row.key),
    });
  }
}

function fitsWorker(worker: Worker, query: WorkerQuery): boolean {
  const { states, provider, tenant } = query;
  const isWanted = states.length === 0 ? worker.state !== "ended" : states.includes(worker.state);
  return (
    isWanted &&
    (provider === undefined || worker.provider === provider) &&
    (tenant === undefined || worker.tenant === tenant)
  );
}

function tokenNumber(
  token: string | undefined,
  isToken: (text: string) => text is JobId | WorkerId,
): number | undefined {
  if (token === undefined) return undefined;
  if (!isToken(token)) throw badToken();
  return numberOf(token);
}

export function badToken(): HodeiError {
  return new HodeiError("invalid_argument", "page_token: it was not made by this store");
}

/** The first rows that `show` lets through. There is a next page if another such row, or the limit of the scan, comes after them. */
export function page<Found, Row>(
  found: readonly Found[],
  how: {
    readonly pageSize: number;
    readonly isWhole: boolean;
    readonly show: (row: Found) => Row | undefined;
    readonly tokenOf: (row: Found) => string;
    readonly bytesOf?: (row: Row) => number;
  },
): Page<Row> {
  const rows: Row[] = [];
  let bytes = 0;
  let lastShown: Found | undefined;
  for (const row of found) {
    if (bytes > answerBytes && lastShown !== undefined) {
      return { rows, nextPageToken: how.tokenOf(lastShown) };
    }
    const shown = how.show(row);
    if (shown === undefined) continue;
    if (rows.length === how.pageSize) {
      const nextPageToken = lastShown === undefined ? undefined : how.tokenOf(lastShown);
      return { rows, nextPageToken };
    }
    rows.push(shown);
    bytes += how.bytesOf?.(shown) ?? 0;
    lastShown = row;
  }
  const last = found.at(-1);
  if (how.isWhole || last === undefined) return { rows, nextPageToken: undefined };
  return { rows, nextPageToken: how.tokenOf(last) };
}
