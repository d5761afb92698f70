import type { StoreDump } from "#store/dump.ts";
import type { Store } from "#store/store.ts";
import { describeSubmit } from "#tenant/audit.ts";
import { appendAudit, expire, listAudit, listTokens, revokeToken } from "./access.ts";
import { claimNext, countAhead, finishAttempt, readDemand, startAttempt } from "./dispatch.ts";
import {
  cancelJob,
  checkNext,
  listDue,
  listJobs,
  moveVersion,
  recordStage,
  submitJob,
} from "./jobs.ts";
import {
  addProvider,
  appendProviderEvents,
  changeProvider,
  listProviderEvents,
  listProviders,
  listProviderStates,
  removeProvider,
  saveProviderStates,
} from "./providers.ts";
import { dumpMethods } from "./dump.ts";
import { refreshShares } from "./shares.ts";
import { emptyState, type MemoryOptions, type State } from "./state.ts";
import {
  endWorker,
  getWorker,
  listWorkers,
  moveWorker,
  planWorker,
  redeem,
  show,
} from "./workers.ts";

/** A store that lasts as long as the process: slow, plain, and right. The model that the others are held to. */
export interface MemoryStore extends Store, Pick<StoreDump, "dump" | "load"> {
  /** What a restart forgets: whose turn it is. */
  restart(): void;
}

export function openMemoryStore(options: MemoryOptions = {}): MemoryStore {
  const state = emptyState(options);
  return {
    ...jobMethods(state),
    ...workerMethods(state),
    ...accessMethods(state),
    ...providerMethods(state),
    ...dumpMethods(state),
  };
}

// Async, so that what a step throws becomes a rejection; each runs to its end when it is called.
function jobMethods(state: State) {
  return {
    submitJobs: async (jobs, now, audit) => {
      const outcomes = jobs.map((job) => submitJob(state, job, now));
      if (audit !== undefined) appendAudit(state, [{ ...audit, ...describeSubmit(outcomes) }]);
      return outcomes;
    },
    findJob: async (id) => state.jobs.get(id)?.job,
    listJobs: async (query) => listJobs(state, query),
    listEvents: async (id, afterSequence, limit) => {
      const events = state.jobs.get(id)?.events ?? [];
      return events.filter((event) => event.sequence > afterSequence).slice(0, limit);
    },
    recordStages: async (stages, now) => {
      for (const stage of stages) recordStage(state, stage, now);
    },
    cancelJob: async (id, cancel, now) => cancelJob(state, { id, ...cancel }, now),
    listDue: async (now, limit) => listDue(state, now, limit),
    moveJobs: async (moves, now) => {
      for (const move of moves) checkNext(move.move, move.next);
      return moves.map((move) => moveVersion(state, move, now));
    },
    claimNext: async (workerId, claim, now) => claimNext(state, { workerId, ...claim }, now),
    startAttempts: async (starts, now) => starts.map((start) => startAttempt(state, start, now)),
    finishAttempts: async (finishes, now) => {
      for (const finish of finishes) checkNext(finish.move, finish.next);
      return finishes.map((finish) => finishAttempt(state, finish, now));
    },
    readDemand: async (now) => readDemand(state, now),
    countAhead: async (id) => countAhead(state, id),
  } satisfies Partial<Store>;
}

function workerMethods(state: State) {
  return {
    planWorkers: async (workers, now) => workers.map((worker) => planWorker(state, worker, now)),
    recordCreated: async (id, resourceUid) => {
      const entry = state.workers.get(id);
      if (entry === undefined || entry.worker.state === "ended") return;
      entry.worker = { ...entry.worker, resourceUid: entry.worker.resourceUid ?? resourceUid };
      moveWorker(entry, "create", {});
    },
    redeem: async (id, claim, now) => redeem(state, { id, ...claim }, now),
    findSession: async (id) => state.workers.get(id)?.sessionHash,
    recordHello: async (id, hello) => {
      const entry = state.workers.get(id);
      if (entry === undefined || entry.worker.state === "ended") return 0;
      const { slots, hostname } = hello;
      const connection = entry.worker.connection + 1;
      entry.worker = { ...entry.worker, slots, hostname, connection };
      return connection;
    },
    findWorker: async (id) => {
      const entry = state.workers.get(id);
      return entry === undefined ? undefined : show(state, entry);
    },
    listWorkers: async (query) => listWorkers(state, query),
    listLiveWorkers: async () =>
      [...state.workers.values()]
        .filter((entry) => entry.worker.state !== "ended")
        .map((entry) => show(state, entry)),
    drainWorker: async (id, reason) => {
      const entry = getWorker(state, id);
      moveWorker(entry, "drain", { reason });
      return show(state, entry);
    },
    stopWorker: async (id, stop) => {
      const entry = getWorker(state, id);
      moveWorker(entry, "stop", { reason: stop.reason, startDeadline: undefined });
      return show(state, entry);
    },
    endWorker: async (id, end, now) => endWorker(state, { id, ...end }, now),
  } satisfies Partial<Store>;
}

function accessMethods(state: State) {
  return {
    putToken: async (token, secretHash) => {
      state.tokens.set(token.id, { token, secretHash });
    },
    findToken: async (id) => state.tokens.get(id),
    listTokens: async (query) => listTokens(state, query),
    revokeToken: async (id, now) => revokeToken(state, id, now),
    appendAudit: async (entries) => appendAudit(state, entries),
    listAudit: async (query) => listAudit(state, query),
    expire: async (now, limit) => expire(state, now, limit),
    restart: () => {
      const classes = [...state.shares.keys()];
      state.shares.clear();
      for (const classKey of classes) refreshShares(state, classKey);
    },
    [Symbol.asyncDispose]: async () => undefined,
  } satisfies Partial<MemoryStore>;
}

function providerMethods(state: State) {
  return {
    addProvider: async (provider, now) => addProvider(state, provider, now),
    findProvider: async (name) => state.providers.get(name),
    listProviders: async (query) => listProviders(state, query),
    changeProvider: async (change, now) => changeProvider(state, change, now),
    removeProvider: async (name) => removeProvider(state, name),
    appendProviderEvents: async (events) => appendProviderEvents(state, events),
    listProviderEvents: async (query) => listProviderEvents(state, query),
    saveProviderStates: async (states) => saveProviderStates(state, states),
    listProviderStates: async () => listProviderStates(state),
  } satisfies Partial<Store>;
}
