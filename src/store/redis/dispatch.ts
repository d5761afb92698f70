import { cancelledFailure } from "#job/history.ts";
import type { AttemptId, JobId } from "#job/id.ts";
import type {
  Assignment,
  AttemptFinish,
  Demand,
  DispatchStore,
  Fenced,
  Finished,
} from "#store/store.ts";
import { checkNext, expiryOf, nextOf } from "./jobs.ts";
import type { Link } from "./link.ts";
import type { Packable, Unpacked } from "./pack.ts";
import { failureText, unpackStatic, usageOf, type Specs, type Static } from "./rows.ts";
import { isAbsent, toList, toNumber, toText } from "./values.ts";

export function dispatchSteps(link: Link): DispatchStore {
  return {
    claimNext: async (workerId, claim, now) => {
      const { count, attemptIds, deadline, bindsTenant, connection } = claim;
      const wish = [workerId, count, attemptIds, deadline, bindsTenant, now, connection];
      const [given, jobs] = toList(await link.step("claimNext", ...wish)).map(toList);
      const rows = jobs?.map(unpackStatic) ?? [];
      const refs = rows.flatMap(({ ref }) => ref ?? []);
      const specs = refs.length === 0 ? noSpecs : await link.specs(refs);
      return (given ?? []).map((answer, at) => assignmentOf(answer, rows[at], specs));
    },
    startAttempts: async (starts, now) => {
      const given = starts.map(({ jobId, attemptId, startedAt, deadline }) => {
        return [jobId, attemptId, startedAt, deadline];
      });
      return toList(await link.step("startAttempts", given, now)).map(fencedOf);
    },
    finishAttempts: async (finishes, now) => {
      for (const finish of finishes) checkNext(finish.move, finish.next);
      const answer = await link.step("finishAttempts", finishes.map(finishOf), now);
      return toList(answer).map(finishedOf);
    },
    readDemand: async (now) => toList(await link.step("readDemand", now)).map(demandOf),
    countAhead: async (id) => {
      const answer = await link.step("countAhead", id);
      return isAbsent(answer) ? undefined : toNumber(answer);
    },
  };
}

const noSpecs: Specs = new Map();

function assignmentOf(answer: Unpacked, job: Static | undefined, specs: Specs): Assignment {
  const [jobId, attemptId, number, spent, infra] = toList(answer);
  const spec = job?.spec ?? specs.get(job?.ref ?? "");
  if (job === undefined || spec === undefined) throw new Error("the store lacks a job's spec");
  const { tenant, correlationId } = job;
  return {
    jobId: toText(jobId) as JobId,
    attemptId: toText(attemptId) as AttemptId,
    attemptNumber: toNumber(number),
    tenant,
    spec,
    correlationId,
    spentAttempts: toNumber(spent),
    infraRetries: toNumber(infra),
  };
}

function fencedOf(answer: Unpacked): Fenced {
  return toText(answer) === "ok" ? "ok" : "fenced";
}

function finishedOf(answer: Unpacked): Finished {
  return toText(answer) === "repeat" ? "repeat" : fencedOf(answer);
}

function finishOf({ jobId, attemptId, outcome, move, next, expiresAt }: AttemptFinish): Packable {
  const { failure, startedAt, endedAt, exitCode, signal, peak } = outcome;
  const stage = startedAt === undefined ? "preparing" : "running";
  const isSure = failure !== undefined || move === "succeed";
  const cancelled = isSure ? undefined : cancelledFailure(stage, "cancelled");
  return [
    jobId,
    attemptId,
    move,
    endedAt,
    exitCode,
    signal,
    failureText(failure),
    failure?.message,
    startedAt,
    usageOf(peak),
    nextOf(next),
    expiryOf(next) ?? expiresAt,
    failureText(cancelled),
    cancelled?.message,
  ];
}

function demandOf(answer: Unpacked): Demand {
  const [tenant, classKey, priority, queued, waiting, oldestAt] = toList(answer);
  return {
    tenant: toText(tenant),
    classKey: toText(classKey),
    priority: toNumber(priority),
    queued: toNumber(queued),
    waiting: toNumber(waiting),
    oldestAt: toNumber(oldestAt),
  };
}
