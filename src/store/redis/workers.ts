import type { Failure } from "#job/failure.ts";
import { isWorkerId, type JobId, type WorkerId } from "#job/id.ts";
import type { NewWorker, RedeemOutcome, WorkerQuery, WorkerStore } from "#store/store.ts";
import { workerStates, type Worker } from "#worker/worker.ts";
import { checked } from "./fault.ts";
import type { Link } from "./link.ts";
import { badToken, readPage } from "./page.ts";
import { unpack, type Packable, type Unpacked } from "./pack.ts";
import { bufferOf, failureText, stageNumber } from "./rows.ts";
import {
  isAbsent,
  maybeBytes,
  maybeJson,
  maybeNumber,
  maybeText,
  toList,
  toNumber,
  toText,
} from "./values.ts";

const scanSize = 200;

export function workerSteps(link: Link): WorkerStore {
  const one = async (name: string, ...args: Packable[]) =>
    getWorker(checked(await link.step(name, ...args)));
  return {
    planWorkers: async (workers, now) => {
      const given = workers.map((worker) => [worker.id, rowOf(worker, now), worker.isWarm]);
      return toList(await link.step("planWorkers", given, now)).map(getWorker);
    },
    recordCreated: async (id, resourceUid) => {
      await link.step("recordCreated", id, resourceUid);
    },
    redeem: async (id, { otpHash, sessionHash }, now) => {
      const hash = otpHash === "attested" ? undefined : otpHash;
      return redeemOf(await link.step("redeem", id, hash, sessionHash, now));
    },
    findSession: async (id) => maybeBytes(await link.step("findSession", id)),
    recordHello: async (id, { slots, hostname }) =>
      toNumber(await link.step("recordHello", id, slots, hostname)),
    findWorker: async (id) => decodeWorker(await link.step("findWorker", id)),
    listWorkers: async (query) => listWorkers(link, query),
    listLiveWorkers: async () => toList(await link.step("listLiveWorkers")).map(getWorker),
    drainWorker: (id, reason) => one("drainWorker", id, reason),
    stopWorker: (id, { reason }) => one("stopWorker", id, reason),
    endWorker: async (id, { failure, expiresAt }, now) => {
      const stage = failure && stageNumber(failure.stage);
      const why = [failureText(failure), stage, failure?.message];
      return decodeWorker(await link.step("endWorker", id, ...why, expiresAt, now));
    },
  };
}

function rowOf(worker: NewWorker, now: number): Packable {
  const { provider, classKey, tenant, forJob, isForJobOnly, pricePerHour, slots } = worker;
  const { resourceName, maxJobs, startDeadline, otpHash, otpExpiresAt } = worker;
  const who = [0, provider, classKey, tenant, forJob, isForJobOnly, pricePerHour ?? 0];
  const what = [resourceName, undefined, slots, maxJobs, 0];
  const times = [now, undefined, undefined, startDeadline];
  const end = [undefined, "", "", undefined];
  return [...who, ...what, ...times, ...end, otpHash, otpExpiresAt, undefined, [], undefined, 0];
}

export function decodeWorker(answer: Unpacked): Worker | undefined {
  const [id, raw] = toList(answer);
  if (isAbsent(raw)) return undefined;
  const row = toList(unpack(bufferOf(raw))[0]);
  const state = workerStates[toNumber(row[0])];
  if (state === undefined) throw new Error("the store holds a worker in an unknown state");
  return {
    id: toText(id) as WorkerId,
    state,
    provider: toText(row[1]),
    classKey: toText(row[2]),
    tenant: maybeText(row[3]),
    forJob: maybeText(row[4]) as JobId | undefined,
    isForJobOnly: row[5] === true,
    pricePerHour: toNumber(row[6]),
    resourceName: toText(row[7]),
    resourceUid: maybeText(row[8]),
    slots: toNumber(row[9]),
    maxJobs: toNumber(row[10]),
    attempts: toNumber(row[11]),
    plannedAt: toNumber(row[12]),
    readyAt: maybeNumber(row[13]),
    endedAt: maybeNumber(row[14]),
    startDeadline: maybeNumber(row[15]),
    failure: maybeJson(row[16]) as Failure | undefined,
    reason: toText(row[17]),
    hostname: toText(row[18]),
    connection: maybeNumber(row[25]) ?? 0,
    expiresAt: maybeNumber(row[19]),
    jobs: toList(row[23]).map((job) => toText(job) as JobId),
  };
}

function getWorker(answer: Unpacked): Worker {
  const worker = decodeWorker(answer);
  if (worker === undefined) throw new Error("the store lacks a worker that it named");
  return worker;
}

function redeemOf(answer: Unpacked): RedeemOutcome {
  const [kind, what] = toList(answer);
  if (toText(kind) === "ok") return { kind: "ok", isRepeat: what === true };
  type Refusal = Extract<RedeemOutcome, { kind: "refused" }>["reason"];
  return { kind: "refused", reason: toText(what) as Refusal };
}

function listWorkers(link: Link, query: WorkerQuery) {
  const { states, provider, tenant, pageSize, pageToken } = query;
  if (pageToken !== undefined && !isWorkerId(pageToken)) throw badToken();
  const fits = (worker: Worker) =>
    (states.length === 0 ? worker.state !== "ended" : states.includes(worker.state)) &&
    (provider === undefined || worker.provider === provider) &&
    (tenant === undefined || worker.tenant === tenant);
  return readPage<Worker>(
    { pageSize, from: pageToken, fits, tokenOf: (worker) => worker.id },
    async (from) => {
      const rows = toList(await link.step("scanWorkers", from, scanSize)).map(getWorker);
      return { rows, next: rows.length < scanSize ? undefined : rows.at(-1)?.id };
    },
  );
}
