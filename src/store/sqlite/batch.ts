import type { StatementSync } from "node:sqlite";
import { HodeiError, type ErrorCode } from "#error.ts";
import { AccessSteps } from "./access.ts";
import type { Core } from "./core.ts";
import { DispatchSteps } from "./dispatch.ts";
import { JobSteps } from "./jobs.ts";
import { ListSteps } from "./lists.ts";
import { ProviderSteps } from "./providers.ts";
import { fullDisk, isDamage, sqliteCode } from "./schema.ts";
import { WorkerSteps } from "./workers.ts";

/** One call of a method of the store. */
export interface Call {
  readonly method: Method;
  readonly args: readonly unknown[];
}

/** What a call came to. Errors cross threads as data; one without a code is a bug. */
export type Answer =
  | { readonly kind: "value"; readonly value: unknown }
  | {
      readonly kind: "error";
      readonly code: ErrorCode | undefined;
      readonly message: string;
      readonly hint: string | undefined;
    };

/** The outcome of the transaction is unknown, or the database is damaged: nothing more may be done with it. */
export class BrokenStore extends Error {
  constructor(cause: unknown) {
    super("the store's transaction has an unknown outcome", { cause });
    this.name = "BrokenStore";
  }
}

type Step = (...args: never[]) => unknown;

const readers = [
  "findJob",
  "listJobs",
  "listEvents",
  "listDue",
  "readDemand",
  "countAhead",
  "findSession",
  "findWorker",
  "listWorkers",
  "listLiveWorkers",
  "findToken",
  "listTokens",
  "listAudit",
  "findProvider",
  "listProviders",
  "listProviderEvents",
  "listProviderStates",
] as const;
const writers = [
  "submitJobs",
  "recordStages",
  "cancelJob",
  "moveJobs",
  "claimNext",
  "startAttempts",
  "finishAttempts",
  "planWorkers",
  "recordCreated",
  "redeem",
  "recordHello",
  "drainWorker",
  "stopWorker",
  "endWorker",
  "putToken",
  "revokeToken",
  "appendAudit",
  "addProvider",
  "changeProvider",
  "removeProvider",
  "appendProviderEvents",
  "saveProviderStates",
  "expire",
] as const;
export const methods = [...readers, ...writers];
export type Method = (typeof methods)[number];

const writing: ReadonlySet<string> = new Set(writers);

/** Runs the calls of one turn as one transaction. */
export class Batches {
  readonly #core: Core;
  readonly #steps: Readonly<Record<Method, Step>>;
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;

  constructor(core: Core) {
    this.#core = core;
    this.#steps = stepsOf(core);
    this.#begin = core.db.prepare("BEGIN IMMEDIATE");
    this.#commit = core.db.prepare("COMMIT");
  }

  /**
   * Answers each call; returns once what they did is durable. A call that refuses leaves nothing behind. When one fails unexpectedly, all is undone, and the
   * calls run one by one, so that only the faulty one fails. Throws `BrokenStore`.
   */
  run(calls: readonly Call[]): Answer[] {
    if (!calls.some((call) => writing.has(call.method))) {
      return calls.map((call) => this.#answer(call));
    }
    try {
      this.#begin.run();
      const answers = calls.map((call) => this.#step(call));
      this.#commit.run();
      return answers;
    } catch (error) {
      this.#undo(error);
      if (calls.length === 1 || fullDisk(error) !== undefined)
        return calls.map(() => answerOf(error));
      return calls.flatMap((call) => this.run([call]));
    }
  }

  /** Answers what the store refuses; throws what went wrong. */
  #step(call: Call): Answer {
    try {
      const step = this.#steps[call.method];
      return { kind: "value", value: step(...(call.args as never[])) };
    } catch (error) {
      if (error instanceof HodeiError) return answerOf(error);
      throw error;
    }
  }

  /** A read that goes wrong concerns nobody else. */
  #answer(call: Call): Answer {
    try {
      return this.#step(call);
    } catch (error) {
      if (isDamage(error)) throw new BrokenStore(error);
      return answerOf(error);
    }
  }

  /**
   * A full disk and an error of our own are definite: SQLite tells of the first before the commit is on disk, the second comes before it.
   * Whatever else SQLite says leaves open what is on disk.
   */
  #undo(error: unknown): void {
    const code = sqliteCode(error);
    const isDefinite = code === undefined || code < busy || code > notFound;
    if (!isDefinite || isDamage(error)) throw new BrokenStore(error);
    try {
      if (this.#core.db.isTransaction) this.#core.db.exec("ROLLBACK");
      this.#core.load();
    } catch {
      throw new BrokenStore(error);
    }
  }
}

/** SQLite's codes from here to `notFound` are about locks, memory, files and damage, and not about the statement. */
const busy = 5;
const notFound = 12;

function answerOf(cause: unknown): Answer {
  const error = fullDisk(cause) ?? cause;
  if (error instanceof HodeiError) {
    return { kind: "error", code: error.code, message: error.message, hint: error.hint };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { kind: "error", code: undefined, message, hint: undefined };
}

function stepsOf(core: Core): Readonly<Record<Method, Step>> {
  const accessSteps = new AccessSteps(core.db);
  const parts = [
    new JobSteps(core, (entry) => accessSteps.appendAudit([entry])),
    new DispatchSteps(core),
    new WorkerSteps(core),
    new ListSteps(core),
    accessSteps,
    new ProviderSteps(core),
  ] as const;
  const [job, dispatch, worker, list, access, provider] = parts;
  return {
    submitJobs: job.submitJobs.bind(job),
    findJob: job.findJob.bind(job),
    listJobs: list.listJobs.bind(list),
    listEvents: job.listEvents.bind(job),
    recordStages: job.recordStages.bind(job),
    cancelJob: job.cancelJob.bind(job),
    listDue: job.listDue.bind(job),
    moveJobs: job.moveJobs.bind(job),
    claimNext: dispatch.claimNext.bind(dispatch),
    startAttempts: dispatch.startAttempts.bind(dispatch),
    finishAttempts: dispatch.finishAttempts.bind(dispatch),
    readDemand: dispatch.readDemand.bind(dispatch),
    countAhead: dispatch.countAhead.bind(dispatch),
    planWorkers: worker.planWorkers.bind(worker),
    recordCreated: worker.recordCreated.bind(worker),
    redeem: worker.redeem.bind(worker),
    findSession: worker.findSession.bind(worker),
    recordHello: worker.recordHello.bind(worker),
    findWorker: worker.findWorker.bind(worker),
    listWorkers: list.listWorkers.bind(list),
    listLiveWorkers: worker.listLiveWorkers.bind(worker),
    drainWorker: worker.drainWorker.bind(worker),
    stopWorker: worker.stopWorker.bind(worker),
    endWorker: worker.endWorker.bind(worker),
    putToken: access.putToken.bind(access),
    findToken: access.findToken.bind(access),
    listTokens: access.listTokens.bind(access),
    revokeToken: access.revokeToken.bind(access),
    appendAudit: access.appendAudit.bind(access),
    listAudit: access.listAudit.bind(access),
    addProvider: provider.addProvider.bind(provider),
    findProvider: provider.findProvider.bind(provider),
    listProviders: provider.listProviders.bind(provider),
    changeProvider: provider.changeProvider.bind(provider),
    removeProvider: provider.removeProvider.bind(provider),
    appendProviderEvents: provider.appendProviderEvents.bind(provider),
    listProviderEvents: provider.listProviderEvents.bind(provider),
    saveProviderStates: provider.saveProviderStates.bind(provider),
    listProviderStates: provider.listProviderStates.bind(provider),
    expire: access.expire.bind(access),
  };
}
