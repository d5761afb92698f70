import fc from "fast-check";
import type { Failure } from "#job/failure.ts";
import type { NextStep } from "#store/store.ts";
import {
  anyJob,
  attemptId,
  failure,
  hash,
  newJob,
  newWorker,
  otpOf,
  outcome,
  workerId,
} from "../conformance/store/make.ts";
import { newProvider } from "../conformance/store/provider-facts.ts";
import type { Given, Pair } from "./pair.ts";

// Random steps for a store and the plain model.

const causes: readonly Failure[] = [
  failure,
  { ...failure, cause: "worker_lost", blame: "node", userCodeMayHaveRun: false },
];
const tenants = ["acme", "bravo", "charlie"] as const;
const classes = ["small", "large"] as const;

export type Act = (pair: Pair) => Promise<unknown>;

const seed = fc.nat(1_000);
const pick = <const Item>(...items: readonly Item[]) => fc.constantFrom(...items);

function nextOf(move: string, pair: Pair, delay: number): NextStep {
  return move === "requeue"
    ? {
        kind: "queued",
        notBefore: pair.now + delay,
        deadline: pair.now + 900,
        isSpent: delay % 2 === 0,
      }
    : { kind: "over", expiresAt: pair.now + 500 + delay };
}

const submit = fc
  .record({
    tenant: pick(...tenants),
    classKey: pick(...classes),
    priority: pick(0, 0, 5),
    key: pick("", "", "a", "b"),
    spec: pick("x", "y"),
    maxQueued: pick(3, 50),
    label: pick("red", "blue"),
    count: pick(1, 1, 3),
  })
  .map(({ key, spec, label, count, ...job }): Act => async (pair) => {
    const idempotency =
      key === "" ? undefined : { key, specHash: hash(spec), expiresAt: pair.now + 300 };
    const labels = { colour: label };
    const one = newJob({ ...job, idempotency, labels, deadline: pair.now + 800 });
    const said = await pair.both("submitJobs", Array(count).fill(one), pair.now);
    for (const result of said ?? []) {
      if (result.kind === "accepted" && !result.alreadyExisted) pair.jobs.push(result.id);
    }
  });

const plan = fc
  .record({
    classKey: pick(...classes),
    tenant: pick(undefined, undefined, "bravo"),
    isWarm: pick(false, false, true),
    maxJobs: pick(1, 3, 20),
    isForJobOnly: pick(false, false, true),
    redeems: pick(true, true, false),
  })
  .map(({ redeems, ...worker }): Act => async (pair) => {
    const number = ++pair.workers;
    const change = { ...worker, otpExpiresAt: pair.now + 60 };
    await pair.both("planWorkers", [newWorker(number, change)], pair.now);
    if (redeems) await pair.both("redeem", workerId(number), otpOf(number), pair.now);
  });

const claim = fc
  .record({
    worker: seed,
    count: fc.integer({ min: 1, max: 4 }),
    bindsTenant: fc.boolean(),
    connection: pick({}, {}, { connection: 0 }, { connection: 1 }, { connection: 2 }),
  })
  .map(({ worker, count, bindsTenant, connection }): Act => async (pair) => {
    const attemptIds = Array.from({ length: count }, () => attemptId(++pair.attempts));
    const wish = { count, attemptIds, deadline: pair.now + 100, bindsTenant, ...connection };
    const said = await pair.both("claimNext", pair.worker(worker), wish, pair.now);
    for (const { jobId, attemptId: id } of said ?? []) pair.given.push({ jobId, attemptId: id });
  });

/** Something that a worker once was given; recent ones more often. */
function recent(pair: Pair, from: number): Given | undefined {
  return pair.given.at(-1 - (from % Math.min(pair.given.length || 1, 6)));
}

const start = seed.map((from): Act => async (pair) => {
  const given = recent(pair, from);
  if (given === undefined) return;
  const times = { startedAt: pair.now, deadline: pair.now + 400 };
  await pair.both("startAttempts", [{ ...given, ...times }], pair.now);
});

const finish = fc
  .record({
    from: seed,
    move: pick("succeed", "succeed", "fail", "end_cancelled", "time_out", "requeue", "requeue"),
    cause: pick(...causes),
    delay: pick(0, 0, 20, 35),
    hasStarted: fc.boolean(),
    repeats: pick(false, false, true),
  })
  .map(({ from, move, cause, delay, hasStarted, repeats }): Act => async (pair) => {
    const given = recent(pair, from);
    if (given === undefined) return;
    const why = move === "succeed" ? undefined : cause;
    const startedAt = hasStarted ? pair.now - 1 : undefined;
    const end = {
      ...given,
      outcome: outcome({ failure: why, startedAt, endedAt: pair.now }),
      move,
      next: nextOf(move, pair, delay),
      expiresAt: pair.now + 700,
    } as const;
    await pair.both("finishAttempts", repeats ? [end, end] : [end], pair.now);
  });

const move = fc
  .record({
    job: seed,
    move: pick("requeue", "fail", "time_out", "end_cancelled"),
    delay: pick(0, 25),
    stale: pick(0, 0, 0, 1),
  })
  .map(({ job, move: kind, delay, stale }): Act => async (pair) => {
    const id = pair.job(job);
    if (id === undefined) return;
    const found = await pair.both("findJob", id);
    const version = (found?.version ?? 0) - stale;
    const next = nextOf(kind, pair, delay);
    await pair.both("moveJobs", [{ jobId: id, version, move: kind, failure, next }], pair.now);
  });

const cancel = seed.map((job): Act => async (pair) => {
  const id = pair.job(job);
  if (id === undefined) return;
  const wish = {
    reason: "not needed",
    actor: "bob",
    deadline: pair.now + 30,
    expiresAt: pair.now + 90,
  };
  await pair.both("cancelJob", id, wish, pair.now);
});

const stage = fc.tuple(seed, seed).map(([job, worker]): Act => async (pair) => {
  const jobId = pair.job(job);
  if (jobId === undefined) return;
  const given = {
    jobId,
    stage: "pulling",
    workerId: pair.worker(worker),
    message: "pulls",
  } as const;
  await pair.both("recordStages", [given, given, given], pair.now);
});

const workerLife = fc.tuple(seed, fc.nat(7)).map(([from, kind]): Act => async (pair) => {
  const id = pair.worker(from);
  const number = (from % (pair.workers + 1)) + 1;
  if (kind === 0) await pair.both("recordCreated", id, "uid", pair.now);
  if (kind === 1) await pair.both("redeem", id, otpOf(number), pair.now);
  if (kind === 2) await pair.both("redeem", id, otpOf(number, "thief"), pair.now);
  if (kind === 3) await pair.both("recordHello", id, { slots: 4, hostname: "host" });
  if (kind === 4) await pair.both("drainWorker", id, "drained", pair.now);
  if (kind === 5) await pair.both("stopWorker", id, { reason: "enough" }, pair.now);
  if (kind === 6) {
    const end = { failure: causes[from % 3], expiresAt: pair.now + 200 };
    await pair.both("endWorker", id, end, pair.now);
  }
  await pair.both("findSession", id);
  await pair.both("findWorker", id);
});

/** Workers are of `process`. */
const provider = fc
  .record({ name: pick("process", "process", "other"), kind: fc.nat(6), stale: pick(0, 0, 1) })
  .map(({ name, kind, stale }): Act => async (pair) => {
    const record = newProvider(name, { priority: pair.now % 7, labels: { at: String(pair.now) } });
    if (kind < 2) await pair.both("addProvider", record, pair.now);
    if (kind === 2) await pair.both("removeProvider", name);
    if (kind === 3) {
      const version = ((await pair.both("findProvider", name))?.version ?? 1) - stale;
      const change = { name, version, set: { isEnabled: stale === 0, maxWorkers: undefined } };
      await pair.both("changeProvider", change, pair.now);
    }
    if (kind === 4) {
      const why = { from: "closed", to: "open", reason: "", actor: "", at: pair.now };
      const event = { ...why, provider: name, kind: "circuit", expiresAt: pair.now + 60 } as const;
      await pair.both("appendProviderEvents", [event, event]);
    }
    if (kind === 5) {
      const state = { provider: name, at: pair.now, data: String(stale) };
      await pair.both("saveProviderStates", [state]);
    }
    await pair.both("listProviderStates");
    await pair.both("listProviders", { pageSize: 1, pageToken: undefined });
    await pair.both("listProviderEvents", { provider: name, pageSize: 3, pageToken: undefined });
  });

const look = fc
  .record({
    tenant: pick(undefined, "acme", "nobody"),
    states: pick([], ["queued"], ["starting", "running"], ["failed", "cancelled"]),
    colour: pick("", "red"),
    text: pick("", "UIL", "nothing"),
    since: pick(undefined, 40),
    pageSize: pick(2, 100),
  })
  .map(({ tenant, states, colour, text, since, pageSize }): Act => async (pair) => {
    const labels: Record<string, string> = colour === "" ? {} : { colour };
    const submittedAfter = since === undefined ? undefined : pair.now - since;
    const query = { ...anyJob, tenant, labels, text, submittedAfter, pageSize };
    const all = { ...query, states: states as ["queued"] };
    let pageToken: string | undefined;
    do {
      const page = await pair.both("listJobs", { ...all, pageToken });
      pageToken = page?.nextPageToken;
    } while (pageToken !== undefined);
    await pair.both("readDemand", pair.now);
    await pair.both("listDue", pair.now, 5);
  });

const time = fc.integer({ min: 1, max: 60 }).map((ms): Act => async (pair) => {
  pair.now += ms;
});
const expiry = fc.constant<Act>((pair) => pair.both("expire", pair.now, 3));
const reopening = fc.constant<Act>(async (pair) => pair.reopen());

/** A store and the plain model get them and must say the same. */
export const acts = fc.oneof(
  { weight: 6, arbitrary: submit },
  { weight: 3, arbitrary: plan },
  { weight: 7, arbitrary: claim },
  { weight: 4, arbitrary: start },
  { weight: 6, arbitrary: finish },
  { weight: 2, arbitrary: move },
  { weight: 2, arbitrary: cancel },
  { weight: 2, arbitrary: stage },
  { weight: 3, arbitrary: workerLife },
  { weight: 2, arbitrary: provider },
  { weight: 2, arbitrary: look },
  { weight: 4, arbitrary: time },
  { weight: 1, arbitrary: expiry },
  { weight: 1, arbitrary: reopening },
);
