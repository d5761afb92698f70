import { plainTerms } from "#worker/provider-record.ts";
import type { Assignment, Store } from "#store/store.ts";
import { fillStore, type Filled } from "../../store/filled.ts";
import {
  anyJob,
  anyWorker,
  claimOf,
  dawn,
  day,
  failure,
  hash,
  newJob,
  newWorker,
  otpOf,
  readyWorker,
  workerId,
} from "../store/make.ts";

/** Methods that change something: a new one of `Store` has to find its place here. */
export type Change = Exclude<
  keyof Store,
  | `${"find" | "list" | "read" | "count"}${string}`
  | "follow"
  | "replicas"
  | typeof Symbol.asyncDispose
>;

const over = { kind: "over", expiresAt: dawn + day } as const;
const token = {
  id: "t2",
  subject: "sam",
  tenant: "acme",
  role: "viewer",
  createdAt: dawn,
} as const;
const entry = { at: dawn, actor: "bob", tenant: "acme", action: "A", target: "j", outcome: "OK" };
const event = { at: dawn, provider: "here", kind: "circuit", from: "a", to: "b" } as const;

export interface FilledMore extends Filled {
  readonly starting: Assignment;
}

/** As `fillStore`, with worker 3 planned, and 4 ready and with a job beside. */
export async function fillMore(store: Store): Promise<FilledMore> {
  const filled = await fillStore(store);
  await store.planWorkers([newWorker(3)], dawn);
  const worker = await readyWorker(store, 4, { provider: "there", classKey: "large" });
  const [starting] = await store.claimNext(worker, claimOf(1), dawn);
  if (starting === undefined) throw new Error("there was a large job");
  return { ...filled, starting };
}

/** What each would change in a store that was filled. */
export const changes: Readonly<
  Record<Change, (store: Store, filled: FilledMore) => Promise<unknown>>
> = {
  submitJobs: (store) => store.submitJobs([newJob({ spec: new Uint8Array(9_000) })], dawn),
  recordStages: (store, { queued }) =>
    store.recordStages(
      [{ jobId: queued, stage: "pulling", workerId: undefined, message: "pulls" }],
      dawn,
    ),
  cancelJob: (store, { queued }) =>
    store.cancelJob(queued, { reason: "", actor: "ada", deadline: dawn, expiresAt: dawn }, dawn),
  moveJobs: (store, { queued }) =>
    store.moveJobs([{ jobId: queued, version: 1, move: "fail", failure, next: over }], dawn),
  claimNext: (store, { session }) => store.claimNext(session.workerId, claimOf(1), dawn),
  startAttempts: (store, { starting }) =>
    store.startAttempts([{ ...starting, startedAt: dawn, deadline: dawn }], dawn),
  finishAttempts: (store, { running, now }) => store.finishAttempts([running], now),
  planWorkers: (store) => store.planWorkers([newWorker(5)], dawn),
  recordCreated: (store) => store.recordCreated(workerId(3), "uid-3", dawn),
  redeem: (store) => store.redeem(workerId(3), otpOf(3), dawn),
  recordHello: (store) => store.recordHello(workerId(4), { slots: 7, hostname: "there" }),
  drainWorker: (store) => store.drainWorker(workerId(4), "enough", dawn),
  stopWorker: (store) => store.stopWorker(workerId(4), { reason: "enough" }, dawn),
  endWorker: (store) => store.endWorker(workerId(4), { failure: undefined, expiresAt: dawn }, dawn),
  putToken: (store) =>
    store.putToken({ ...token, expiresAt: undefined, revokedAt: undefined }, hash("t2")),
  revokeToken: (store) => store.revokeToken("t1", dawn),
  appendAudit: (store) =>
    store.appendAudit([{ ...entry, peer: "", correlationId: "", expiresAt: dawn }]),
  addProvider: (store) => {
    const facts = { id: "p1", name: "there", type: "process", source: "api" } as const;
    return store.addProvider({ ...plainTerms, ...facts, config: {}, secret: undefined }, dawn);
  },
  changeProvider: (store) =>
    store.changeProvider({ name: "here", version: undefined, set: { priority: 9 } }, dawn),
  removeProvider: (store) => store.removeProvider("here"),
  appendProviderEvents: (store) =>
    store.appendProviderEvents([{ ...event, reason: "", actor: "", expiresAt: dawn }]),
  saveProviderStates: (store) =>
    store.saveProviderStates([{ provider: "here", at: dawn, data: "{}" }]),
  expire: (store) => store.expire(dawn + 9 * day, 100),
};

/** What a reader sees. */
export async function look(store: Store): Promise<unknown> {
  const all = { pageSize: 100, pageToken: undefined };
  const jobs = await store.listJobs(anyJob);
  const states = ["planned", "starting", "ready", "draining", "stopping", "ended"] as const;
  return {
    jobs: jobs.rows,
    events: await Promise.all(jobs.rows.map(({ id }) => store.listEvents(id, 0, 100))),
    workers: await store.listWorkers({ ...anyWorker, states }),
    session: await store.findSession(workerId(3)),
    tokens: await store.listTokens(all),
    audit: await store.listAudit({ ...all, correlationId: "", actor: "", target: "" }),
    providers: await store.listProviders(all),
    providerEvents: await store.listProviderEvents({ ...all, provider: "here" }),
    providerStates: await store.listProviderStates(),
  };
}
