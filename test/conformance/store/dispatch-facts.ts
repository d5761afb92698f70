import { describe, expect, test } from "vitest";
import type { Assignment, AttemptFinish, Store } from "#store/store.ts";
import { submit } from "./job-facts.ts";
import { claimOf, dawn, day, failure, newJob, newWorker, outcome, readyWorker } from "./make.ts";

const over = { kind: "over", expiresAt: dawn + day } as const;

export function finishOf(given: Assignment, change: Partial<AttemptFinish> = {}): AttemptFinish {
  const { jobId, attemptId } = given;
  const end = { outcome: outcome(), move: "succeed", next: over, expiresAt: dawn + day } as const;
  return { jobId, attemptId, ...end, ...change };
}

async function claimOne(store: Store, worker = 1): Promise<Assignment> {
  const id = await readyWorker(store, worker);
  const [given] = await store.claimNext(id, claimOf(1), dawn);
  if (given === undefined) throw new Error("nothing was claimed");
  return given;
}

export function dispatchFacts(current: () => Store): void {
  describe("claiming", () => {
    test("a claim given right after a submit finds its job", async () => {
      const worker = await readyWorker(current(), 1);
      const submitted = current().submitJobs([newJob()], dawn);
      const claimed = await current().claimNext(worker, claimOf(1), dawn);
      expect(await submitted).toMatchObject([{ id: claimed[0]?.jobId }]);
      expect(await current().findWorker(worker)).toMatchObject({
        attempts: 1,
        jobs: [claimed[0]?.jobId],
      });
    });

    test("the higher priority goes first, then the older job", async () => {
      const low = await submit(current(), { priority: -5 });
      const first = await submit(current());
      const second = await submit(current());
      const high = await submit(current(), { priority: 5 });
      expect(await current().countAhead(second)).toBe(2);
      const worker = await readyWorker(current(), 1);
      const given = await current().claimNext(worker, claimOf(9), dawn);
      expect(given.map((one) => one.jobId)).toEqual([high, first, second, low]);
      expect(new Set(given.map((one) => one.attemptId)).size).toBe(4);
    });

    test("tenants take turns, however long their queues are", async () => {
      await current().submitJobs(Array(20).fill(newJob()), dawn);
      await current().submitJobs(Array(3).fill(newJob({ tenant: "zeta" })), dawn);
      const worker = await readyWorker(current(), 1);
      const given = await current().claimNext(worker, claimOf(6), dawn);
      expect(given.map((one) => one.tenant)).toEqual([
        "acme",
        "zeta",
        "acme",
        "zeta",
        "acme",
        "zeta",
      ]);
    });

    test("a tenant that was idle has saved up nothing", async () => {
      await current().submitJobs(Array(20).fill(newJob()), dawn);
      const worker = await readyWorker(current(), 1);
      await current().claimNext(worker, claimOf(10), dawn);
      await current().submitJobs(Array(9).fill(newJob({ tenant: "zeta" })), dawn);
      const given = await current().claimNext(worker, claimOf(6), dawn);
      expect(given.filter((one) => one.tenant === "zeta").length).toBe(3);
    });

    test("a job goes to a worker of its class only", async () => {
      await submit(current(), { classKey: "large" });
      const worker = await readyWorker(current(), 1);
      expect(await current().claimNext(worker, claimOf(1), dawn)).toEqual([]);
    });

    test("a bound worker gets its tenant's jobs only", async () => {
      await current().submitJobs([newJob(), newJob({ tenant: "zeta" }), newJob()], dawn);
      const free = await readyWorker(current(), 1);
      const given = await current().claimNext(free, claimOf(9, { bindsTenant: true }), dawn);
      expect(given.map((one) => one.tenant)).toEqual(["acme", "acme"]);
      expect(await current().findWorker(free)).toMatchObject({ tenant: "acme" });
      const bound = await readyWorker(current(), 2, { tenant: "nobody" });
      expect(await current().claimNext(bound, claimOf(9), dawn)).toEqual([]);
    });

    test("a worker for one job gets that one, also out of turn, or none", async () => {
      const first = await submit(current());
      const second = await submit(current());
      const own = { maxJobs: 1, isForJobOnly: true };
      const one = await readyWorker(current(), 1, own);
      const other = await readyWorker(current(), 2, own);
      const late = await readyWorker(current(), 3, own);
      const taken = await current().claimNext(other, claimOf(1), dawn);
      expect(taken.map((given) => given.jobId)).toEqual([second]);
      const third = await submit(current());
      await current().cancelJob(
        first,
        { reason: "", actor: "ada", deadline: dawn + day, expiresAt: dawn + day },
        dawn,
      );
      expect(await current().claimNext(one, claimOf(1), dawn)).toEqual([]);
      // It was planned when every job had its worker already, so it is for anybody's.
      const rest = await current().claimNext(late, claimOf(1), dawn);
      expect(rest.map((given) => given.jobId)).toEqual([third]);
    });

    test("a job that was taken out of turn and comes back is claimed again", async () => {
      await submit(current());
      const own = await submit(current());
      await submit(current());
      await current().planWorkers([newWorker(1)], dawn);
      const worker = await readyWorker(current(), 2, { maxJobs: 1, isForJobOnly: true });
      const [given] = await current().claimNext(worker, claimOf(1), dawn);
      if (given === undefined) throw new Error("nothing was claimed");
      expect(given.jobId).toBe(own);
      const next = {
        kind: "queued",
        notBefore: dawn,
        deadline: dawn + day,
        isSpent: false,
      } as const;
      const back = finishOf(given, { move: "requeue", next, outcome: outcome({ failure }) });
      expect(await current().finishAttempts([back], dawn)).toEqual(["ok"]);
      const all = await current().claimNext(await readyWorker(current(), 3), claimOf(9), dawn);
      expect(all.length).toBe(3);
      expect(new Set(all.map((one) => one.jobId)).size).toBe(3);
    });

    test("a worker takes as many as it may in its life, while it is ready", async () => {
      await current().submitJobs(Array(5).fill(newJob()), dawn);
      const worker = await readyWorker(current(), 1, { maxJobs: 2 });
      expect((await current().claimNext(worker, claimOf(9), dawn)).length).toBe(2);
      expect(await current().claimNext(worker, claimOf(9), dawn)).toEqual([]);
      const leaving = await readyWorker(current(), 2);
      await current().drainWorker(leaving, "", dawn);
      expect(await current().claimNext(leaving, claimOf(9), dawn)).toEqual([]);
    });

    test("many claims at once never give a job twice", async () => {
      await current().submitJobs(Array(100).fill(newJob()), dawn);
      const workers = await Promise.all(
        Array.from({ length: 20 }, (_, number) => readyWorker(current(), number + 1)),
      );
      const claims = workers.flatMap((worker) =>
        [1, 2, 3].map((count) => current().claimNext(worker, claimOf(count), dawn)),
      );
      const ids = (await Promise.all(claims)).flat().map((one) => one.jobId);
      expect(ids.length).toBe(100);
      expect(new Set(ids).size).toBe(100);
    });
  });

  describe("attempts", () => {
    test("a start makes the job running; a repeat is fine", async () => {
      await submit(current());
      const { jobId, attemptId } = await claimOne(current());
      const start = { jobId, attemptId, startedAt: dawn + 3, deadline: dawn + 60 };
      expect(await current().startAttempts([start, start], dawn + 4)).toEqual(["ok", "ok"]);
      expect(await current().findJob(jobId)).toMatchObject({
        state: "running",
        version: 3,
        deadline: dawn + 60,
        attempts: [{ state: "running", startedAt: dawn + 3, number: 1 }],
      });
    });

    test("a finish of an attempt that was never reported as started starts it on the way", async () => {
      await submit(current());
      const given = await claimOne(current());
      expect(await current().finishAttempts([finishOf(given)], dawn + 4)).toEqual(["ok"]);
      expect(await current().findJob(given.jobId)).toMatchObject({
        state: "succeeded",
        version: 4,
        failure: undefined,
        expiresAt: dawn + day,
        attempts: [{ state: "ended", exitCode: 0, startedAt: dawn + 5, endedAt: dawn + 10 }],
      });
      const events = await current().listEvents(given.jobId, 0, 10);
      expect(events.map((event) => event.state)).toEqual([
        "queued",
        "starting",
        "running",
        "succeeded",
      ]);
      expect(events.map((event) => event.version)).toEqual([1, 2, 3, 4]);
    });

    test("a repeat of the finish is known as one, another end is fenced", async () => {
      await submit(current());
      const given = await claimOne(current());
      await current().finishAttempts([finishOf(given)], dawn + 4);
      const other = finishOf(given, { outcome: outcome({ exitCode: 1 }), move: "fail" });
      expect(await current().finishAttempts([finishOf(given), other], dawn + 5)).toEqual([
        "repeat",
        "fenced",
      ]);
      expect(await current().findJob(given.jobId)).toMatchObject({ version: 4 });
    });

    test("an attempt that ends twice in one step ends once", async () => {
      await submit(current());
      const end = finishOf(await claimOne(current()));
      expect(await current().finishAttempts([end, end], dawn + 4)).toEqual(["ok", "repeat"]);
      expect(await current().findJob(end.jobId)).toMatchObject({ version: 4 });
    });

    test("a job that comes back as the last queued one leaves is claimed again", async () => {
      const back = await submit(current());
      await claimOne(current());
      const gone = await submit(current());
      const again = {
        kind: "queued",
        notBefore: dawn,
        deadline: dawn + day,
        isSpent: false,
      } as const;
      const moved = await current().moveJobs(
        [
          { jobId: back, version: 2, move: "requeue", failure, next: again },
          { jobId: gone, version: 1, move: "time_out", failure, next: over },
        ],
        dawn + 1,
      );
      expect(moved).toEqual([true, true]);
      const worker = await readyWorker(current(), 2);
      const given = await current().claimNext(worker, claimOf(9), dawn + 1);
      expect(given.map((one) => one.jobId)).toEqual([back]);
    });

    test("what a stale attempt sends is fenced and changes nothing", async () => {
      await submit(current());
      const given = await claimOne(current());
      const next = {
        kind: "queued",
        notBefore: dawn,
        deadline: dawn + day,
        isSpent: false,
      } as const;
      const lost = { jobId: given.jobId, version: 2, move: "requeue", failure, next } as const;
      await current().moveJobs([lost], dawn + 1);
      const before = await current().findJob(given.jobId);
      const start = { ...given, startedAt: dawn, deadline: dawn + 9 };
      expect(await current().startAttempts([start], dawn + 2)).toEqual(["fenced"]);
      expect(await current().finishAttempts([finishOf(given)], dawn + 2)).toEqual(["fenced"]);
      expect(await current().findJob(given.jobId)).toEqual(before);
      expect(before).toMatchObject({ state: "queued", infraRetries: 1, spentAttempts: 0 });
    });

    test("a requeued job waits, counts, and comes before younger ones", async () => {
      const id = await submit(current());
      await submit(current());
      const given = await claimOne(current());
      const back = {
        kind: "queued",
        notBefore: dawn + 50,
        deadline: dawn + day,
        isSpent: true,
      } as const;
      const end = { move: "requeue", next: back, outcome: outcome({ failure }) } as const;
      await current().finishAttempts([finishOf(given, end)], dawn + 4);
      expect(await current().findJob(id)).toMatchObject({ state: "queued", spentAttempts: 1 });
      expect(await current().readDemand(dawn + 5)).toMatchObject([{ queued: 1, waiting: 1 }]);
      expect(await current().readDemand(dawn + 50)).toMatchObject([{ queued: 2, waiting: 0 }]);
      const worker = await readyWorker(current(), 2);
      const again = await current().claimNext(worker, claimOf(1), dawn + 50);
      expect(again).toMatchObject([{ jobId: id, attemptNumber: 2, spentAttempts: 1 }]);
    });

    test("a requeue of a job that is being cancelled ends it", async () => {
      await submit(current());
      const given = await claimOne(current());
      const wish = { reason: "", actor: "bob", deadline: dawn + 9, expiresAt: dawn + day };
      await current().cancelJob(given.jobId, wish, dawn + 1);
      const next = { kind: "queued", notBefore: dawn, deadline: dawn + 9, isSpent: false } as const;
      await current().finishAttempts([finishOf(given, { move: "requeue", next })], dawn + 2);
      const job = await current().findJob(given.jobId);
      expect(job).toMatchObject({ state: "cancelled", expiresAt: dawn + day });
    });

    test("demand is told by kind, without what is cancelled", async () => {
      const id = await submit(current());
      await submit(current(), {}, dawn + 7);
      await submit(current(), { tenant: "zeta", priority: 3 });
      const wish = { reason: "", actor: "bob", deadline: dawn, expiresAt: dawn + day };
      await current().cancelJob(id, wish, dawn + 8);
      const demand = await current().readDemand(dawn + 8);
      expect(demand.toSorted((one, other) => one.priority - other.priority)).toEqual([
        {
          tenant: "acme",
          classKey: "small",
          priority: 0,
          queued: 1,
          waiting: 0,
          oldestAt: dawn + 7,
        },
        {
          tenant: "zeta",
          classKey: "small",
          priority: 3,
          queued: 1,
          waiting: 0,
          oldestAt: dawn,
        },
      ]);
    });
  });
}
