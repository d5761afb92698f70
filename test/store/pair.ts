import type { DatabaseSync } from "node:sqlite";
import { inspect, isDeepStrictEqual } from "node:util";
import type { AttemptId, JobId, WorkerId } from "#job/id.ts";
import { openMemoryStore, type MemoryStore } from "#store/memory/open.ts";
import { Batches, type Method } from "#store/sqlite/batch.ts";
import { Core } from "#store/sqlite/core.ts";
import { openDatabase } from "#store/sqlite/schema.ts";
import type { Store } from "#store/store.ts";
import { anyJob, anyWorker, dawn, workerId } from "../conformance/store/make.ts";

const shown = { depth: 8, breakLength: 160 };
export const pairOptions = { maxEventsPerJob: 8, tenantWeights: { bravo: 2, charlie: 3 } };

export interface Given {
  readonly jobId: JobId;
  readonly attemptId: AttemptId;
}

type Said =
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "error"; readonly code: string | undefined };

/** The store that is held to the model. */
export interface Subject {
  call(method: Method, args: readonly unknown[]): Promise<Said | undefined>;
  /** Whether it has forgotten whose turn it is. */
  reopen(): Promise<boolean>;
}

export class SqliteSubject implements Subject {
  readonly path: string;
  db: DatabaseSync;
  #batches: Batches;

  constructor(path: string) {
    this.path = path;
    this.db = openDatabase(path);
    this.#batches = new Batches(new Core(this.db, pairOptions));
  }

  async call(method: Method, args: readonly unknown[]): Promise<Said | undefined> {
    const [answer] = this.#batches.run([{ method, args }]);
    return answer?.kind === "error" ? { kind: "error", code: answer.code } : answer;
  }

  async reopen(): Promise<boolean> {
    this.db.close();
    this.db = openDatabase(this.path);
    this.#batches = new Batches(new Core(this.db, pairOptions));
    return true;
  }
}

/** A store with the methods of one. */
export async function callStore(
  store: Store,
  method: Method,
  args: readonly unknown[],
): Promise<Said> {
  const step = store[method] as (...all: readonly unknown[]) => Promise<unknown>;
  return step(...args).then(
    (value) => ({ kind: "value", value }) as const,
    (error: Error & { code?: string }) => ({ kind: "error", code: error.code }) as const,
  );
}

export class Pair {
  readonly subject: Subject;
  readonly model: MemoryStore = openMemoryStore(pairOptions);
  now = dawn;
  workers = 0;
  attempts = 0;
  readonly jobs: JobId[] = [];
  readonly given: Given[] = [];
  /** What was called, for the failure's message. */
  readonly calls: string[] = [];

  constructor(subject: Subject) {
    this.subject = subject;
  }

  async reopen(): Promise<void> {
    this.calls.push("reopen");
    if (await this.subject.reopen()) this.model.restart();
  }

  /** Takes the step on both, expects the same, and gives what they said. */
  async both<M extends Method>(
    method: M,
    ...args: Parameters<Store[M]>
  ): Promise<Awaited<ReturnType<Store[M]>> | undefined> {
    const answer = await this.subject.call(method, args);
    const said = await callStore(this.model, method, args);
    this.calls.push(`${method} ${JSON.stringify(args)}`);
    const call = this.calls.join("\n");
    if (said.kind === "error") {
      this.#compare(call, answer?.kind === "error" ? answer.code : answer, said.code);
      return undefined;
    }
    this.#compare(call, plain(answer), plain(said));
    return said.value as Awaited<ReturnType<Store[M]>>;
  }

  #compare(call: string, answer: unknown, said: unknown): void {
    if (isDeepStrictEqual(answer, said)) return;
    const told = [
      `the store answers ${inspect(answer, shown)}`,
      `the model ${inspect(said, shown)}`,
    ];
    throw new Error([call, ...told].join("\n"));
  }

  async compareAll(): Promise<void> {
    await this.both("listJobs", anyJob);
    await this.both("listWorkers", { ...anyWorker, states: ["ready", "draining", "ended"] });
    await this.both("listLiveWorkers");
    for (const id of this.jobs) {
      await this.both("listEvents", id, 0, 1_000);
      await this.both("countAhead", id);
    }
  }

  worker(seed: number): WorkerId {
    return workerId((seed % (this.workers + 1)) + 1);
  }

  job(seed: number): JobId | undefined {
    return this.jobs[seed % this.jobs.length];
  }
}

/** Bytes as arrays, and kinds of demand in one order. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) {
    const rows = value.map(plain);
    const isDemand = rows.every((row) => typeof row === "object" && row && "oldestAt" in row);
    return isDemand
      ? rows.map((row) => JSON.stringify(row, Object.keys(row as object).sort())).sort()
      : rows;
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one)]));
}
