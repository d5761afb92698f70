import { HodeiError } from "#error.ts";
import { cancelledFailure } from "#job/history.ts";
import { isJobId, jobIdOf, numberAtTime, type JobId } from "#job/id.ts";
import type { Job } from "#job/job.ts";
import { jobStates } from "#job/state.ts";
import type {
  JobQuery,
  JobStore,
  NewAuditEntry,
  NewJob,
  NextStep,
  SubmitAudit,
  SubmitOutcome,
} from "#store/store.ts";
import { checked, isWord } from "./fault.ts";
import type { Link } from "./link.ts";
import { badToken, readPage, scanLimit } from "./page.ts";
import type { Packable, Unpacked } from "./pack.ts";
import {
  decodeEvents,
  decodeJob,
  failureText,
  packStatic,
  refsOf,
  stageNumber,
  stateOf,
} from "./rows.ts";
import { largeSpecOf, type LargeSpec } from "./specs.ts";
import { isAbsent, toList, toNumber, toText } from "./values.ts";

export function jobSteps(link: Link): JobStore {
  return {
    submitJobs: async (jobs, now, audit) => {
      const large = jobs.map((job) => largeSpecOf(job.spec));
      const given = jobs.map((job, at) => jobOf(job, large[at]));
      const args = [given, now, audit && auditOf(audit)];
      const specs = large.filter((spec) => spec !== undefined);
      const texts = jobs.map((job, at) => packStatic(job, now, large[at]));
      const answer = await link.stepWith({ specs, texts }, "submitJobs", ...args);
      return toList(answer).map(outcomeOf);
    },
    findJob: async (id) => {
      const [job] = await decodeJobs(link, [await link.step("findJob", id)]);
      return job;
    },
    listJobs: async (query) => listJobs(link, query),
    listEvents: async (id, afterSequence, limit) => {
      const events = decodeEvents(await link.step("findJob", id));
      return events.filter((event) => event.sequence > afterSequence).slice(0, limit);
    },
    recordStages: async (stages, now) => {
      const given = stages.map(({ jobId, stage, workerId, message, failure }) => {
        return [jobId, stageNumber(stage), workerId, message, failureText(failure)];
      });
      await link.step("recordStages", given, now);
    },
    cancelJob: async (id, { reason, actor, deadline, expiresAt }, now) => {
      const message = `cancelled by ${actor}${reason === "" ? "" : `: ${reason}`}`;
      const failure = failureText(cancelledFailure("queued", message));
      const step = link.step("cancelJob", id, message, failure, deadline, expiresAt, now);
      const answer = checked(await step);
      if (!isWord(answer, "over")) return getJob(link, answer);
      const state = stateOf(toList(answer)[1]);
      throw new HodeiError("failed_precondition", `job ${id} is over: it ${state}`);
    },
    listDue: async (now, limit) => {
      const due = toList(await link.step("listDue", now, limit));
      return (await decodeJobs(link, due)).filter((job) => job !== undefined);
    },
    moveJobs: async (moves, now) => {
      for (const move of moves) checkNext(move.move, move.next);
      const given = moves.map(({ jobId, version, move, failure, next }) => {
        const why = [failureText(failure), failure.message];
        return [jobId, version, move, ...why, nextOf(next), expiryOf(next)];
      });
      return toList(await link.step("moveJobs", given, now)).map((isDone) => isDone === true);
    },
  };
}

function jobOf(job: NewJob, large: LargeSpec | undefined): Packable {
  const { tenant, classKey, priority, deadline, maxQueued, idempotency } = job;
  const { key, specHash, expiresAt } = idempotency ?? {};
  const head = [tenant, classKey, priority, deadline, maxQueued];
  return [...head, key, specHash, expiresAt, large?.ref];
}

/** As it is kept, and behind it when it goes. */
export function auditOf(entry: SubmitAudit & Partial<NewAuditEntry>): Packable {
  const { at, actor, tenant, action, target, outcome, peer, correlationId, expiresAt } = entry;
  return [at, actor, tenant, action, target, outcome, peer, correlationId, expiresAt];
}

function outcomeOf(answer: Unpacked): SubmitOutcome {
  const [kind, what, version, alreadyExisted] = toList(answer);
  if (toText(kind) === "quota") return { kind: "quota", queued: toNumber(what) };
  const id = toText(what) as JobId;
  if (toText(kind) === "conflict") return { kind: "conflict", id };
  const isOld = alreadyExisted === true;
  return { kind: "accepted", id, version: toNumber(version), alreadyExisted: isOld };
}

async function decodeJobs(link: Link, answers: readonly Unpacked[]): Promise<(Job | undefined)[]> {
  const specs = await link.specs(refsOf(answers));
  return answers.map((answer) => decodeJob(answer, specs));
}

async function getJob(link: Link, answer: Unpacked): Promise<Job> {
  const [job] = await decodeJobs(link, [answer]);
  if (job === undefined) throw new Error("the store lacks a job that it named");
  return job;
}

export function checkNext(move: string, next: NextStep): void {
  if ((move === "requeue") !== (next.kind === "queued")) {
    throw new HodeiError("invalid_argument", `${move} cannot be followed by ${next.kind}`);
  }
}

export function nextOf(next: NextStep): Packable {
  return next.kind === "queued" ? [next.notBefore, next.deadline, next.isSpent] : undefined;
}

export function expiryOf(next: NextStep): number | undefined {
  return next.kind === "over" ? next.expiresAt : undefined;
}

const activeStates = new Set<string>(["starting", "running", "cancelling"]);

function listJobs(link: Link, query: JobQuery) {
  const { tenant, states, labels, pageSize, pageToken, submittedAfter, submittedBefore } = query;
  if (pageToken !== undefined && !isJobId(pageToken)) throw badToken();
  const text = query.text.toLowerCase();
  const wanted = Object.entries(labels);
  const isActive = states.length > 0 && states.every((state) => activeStates.has(state));
  // A job's number is never smaller than its time's, but may be greater after the clock went back.
  const least = jobIdOf(Math.floor(numberAtTime(submittedAfter ?? 0)));
  const numbers = states.map((state) => jobStates.indexOf(state));
  const fits = (job: Job) =>
    wanted.every(([name, value]) => job.labels[name] === value) &&
    (job.name.toLowerCase().includes(text) || job.id.includes(text));
  return readPage<Job>(
    {
      pageSize,
      from: pageToken,
      fits,
      tokenOf: (job) => job.id,
      bytesOf: (job) => job.spec.length,
    },
    async (from) => {
      const where = [tenant, from, least, numbers, submittedAfter ?? 0, submittedBefore];
      const bounds = [pageSize + 1, scanLimit, isActive];
      const [rows, next] = toList(await link.step("scanJobs", ...where, ...bounds));
      const jobs = await decodeJobs(link, toList(rows));
      return {
        rows: jobs.filter((job) => job !== undefined),
        next: isAbsent(next) ? undefined : toText(next),
      };
    },
  );
}
