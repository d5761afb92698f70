import { describe, expect, test } from "vitest";
import type { JobId } from "#job/id.ts";
import { jobStates, moves, type JobState } from "#job/state.ts";
import type { NewJob, Store, VersionedMove } from "#store/store.ts";
import { anyJob, claimOf, dawn, day, failure, hash, newJob, outcome, readyWorker } from "./make.ts";

export async function submit(
  store: Store,
  change: Partial<NewJob> = {},
  now = dawn,
): Promise<JobId> {
  const [result] = await store.submitJobs([newJob(change)], now);
  if (result?.kind !== "accepted") throw new Error(`refused: ${JSON.stringify(result)}`);
  return result.id;
}

const cancel = { reason: "not needed", actor: "bob", deadline: dawn + 50, expiresAt: dawn + day };

/** Brings a new job to the state. */
export async function jobIn(store: Store, state: JobState, worker = 1): Promise<JobId> {
  const id = await submit(store, { classKey: `class ${worker}` });
  if (state === "queued") return id;
  const workerId = await readyWorker(store, worker, { classKey: `class ${worker}` });
  const [given] = await store.claimNext(workerId, claimOf(1), dawn);
  if (given === undefined) throw new Error("nothing was claimed");
  if (state === "starting") return id;
  const { attemptId } = given;
  await store.startAttempts([{ jobId: id, attemptId, startedAt: dawn, deadline: dawn + 9 }], dawn);
  if (state === "running") return id;
  if (state === "cancelling" || state === "cancelled") await store.cancelJob(id, cancel, dawn);
  const ends = {
    succeeded: "succeed",
    failed: "fail",
    cancelled: "end_cancelled",
    timed_out: "time_out",
  };
  if (!(state in ends)) return id;
  const move = ends[state as keyof typeof ends] as "fail";
  const why = state === "succeeded" ? undefined : failure;
  const next = { kind: "over", expiresAt: dawn + day } as const;
  const end = { outcome: outcome({ failure: why }), move, next, expiresAt: dawn + day };
  await store.finishAttempts([{ jobId: id, attemptId, ...end }], dawn);
  return id;
}

export function jobFacts(current: () => Store): void {
  describe("submitting", () => {
    test("a job is queued, with version 1 and one event", async () => {
      const id = await submit(current(), { name: "nightly", labels: { team: "core" } });
      expect(await current().findJob(id)).toMatchObject({
        id,
        state: "queued",
        version: 1,
        name: "nightly",
        labels: { team: "core" },
        submittedAt: dawn,
        deadline: dawn + day,
        attempts: [],
        correlationId: "c1",
      });
      const events = await current().listEvents(id, 0, 10);
      expect(events).toMatchObject([{ sequence: 1, version: 1, state: "queued", stage: "queued" }]);
    });

    test("ids grow in the order given", async () => {
      const results = await current().submitJobs([newJob(), newJob(), newJob()], dawn);
      const ids = results.map((result) => (result.kind === "accepted" ? result.id : ""));
      expect(ids).toEqual(ids.toSorted());
      expect(new Set(ids).size).toBe(3);
    });

    test("the same key and spec give the first job", async () => {
      const idempotency = { key: "k", specHash: hash("x"), expiresAt: dawn + 100 };
      const id = await submit(current(), { idempotency });
      const again = await current().submitJobs([newJob({ idempotency })], dawn + 99);
      expect(again).toEqual([{ kind: "accepted", id, version: 1, alreadyExisted: true }]);
      const other = { ...idempotency, specHash: hash("y") };
      const clash = await current().submitJobs([newJob({ idempotency: other })], dawn + 99);
      expect(clash).toEqual([{ kind: "conflict", id }]);
    });

    test("a key twice in one step is one job too", async () => {
      const idempotency = { key: "k", specHash: hash("x"), expiresAt: dawn + 100 };
      const other = { ...idempotency, specHash: hash("y") };
      const jobs = [idempotency, idempotency, other].map((own) => newJob({ idempotency: own }));
      const [first, again, clash] = await current().submitJobs(jobs, dawn);
      if (first?.kind !== "accepted") throw new Error("the first was refused");
      expect(again).toEqual({ ...first, alreadyExisted: true });
      expect(clash).toEqual({ kind: "conflict", id: first.id });
    });

    test("a key is its tenant's own, and ends", async () => {
      const idempotency = { key: "k", specHash: hash("x"), expiresAt: dawn + 100 };
      const id = await submit(current(), { idempotency });
      expect(await submit(current(), { idempotency, tenant: "other" })).not.toBe(id);
      expect(await submit(current(), { idempotency }, dawn + 100)).not.toBe(id);
    });

    test("a refused job leaves the others alone", async () => {
      const few = newJob({ maxQueued: 1 });
      const results = await current().submitJobs([few, few, newJob({ tenant: "other" })], dawn);
      expect(results.map((result) => result.kind)).toEqual(["accepted", "quota", "accepted"]);
      expect(results[1]).toEqual({ kind: "quota", queued: 1 });
    });
  });

  describe("the table of moves", () => {
    const served: VersionedMove["move"][] = ["requeue", "fail", "time_out", "end_cancelled"];

    test.for(jobStates)("a %s job moves as it says and not otherwise", async (state) => {
      for (const [worker, move] of served.entries()) {
        const id = await jobIn(current(), state, worker + 1);
        const before = await current().findJob(id);
        const version = before?.version ?? 0;
        const next =
          move === "requeue"
            ? ({ kind: "queued", notBefore: dawn, deadline: dawn + day, isSpent: false } as const)
            : ({ kind: "over", expiresAt: dawn + day } as const);
        const one = { jobId: id, version, move, failure, next };
        const isLegal = moves[move].from.includes(state);
        expect(await current().moveJobs([one], dawn + 1)).toEqual([isLegal]);
        const after = await current().findJob(id);
        const moved = { state: moves[move].to, version: version + 1 };
        expect(after).toMatchObject(isLegal ? moved : { state, version });
        expect(await current().moveJobs([one], dawn + 1)).toEqual([false]);
      }
    });

    test("a job is cancelled at once while it is queued, and never once it is over", async () => {
      for (const [worker, state] of jobStates.entries()) {
        const id = await jobIn(current(), state, worker + 1);
        const before = await current().findJob(id);
        const step = current().cancelJob(id, cancel, dawn + 1);
        if (before?.endedAt !== undefined) {
          await expect(step).rejects.toMatchObject({ code: "failed_precondition" });
          continue;
        }
        const after = await step;
        expect(after.state).toBe(state === "queued" ? "cancelled" : "cancelling");
        const version = (before?.version ?? 0) + (state === "cancelling" ? 0 : 1);
        expect(after.version).toBe(version);
        expect(await current().findJob(id)).toEqual(after);
      }
    });

    test("every state but the final ones has a deadline", async () => {
      for (const [worker, state] of jobStates.entries()) {
        const job = await current().findJob(await jobIn(current(), state, worker + 1));
        expect(job?.state).toBe(state);
        expect(job?.deadline === undefined).toBe(job?.endedAt !== undefined);
        expect(job?.expiresAt === undefined).toBe(job?.endedAt === undefined);
      }
    });
  });

  describe("reading", () => {
    test("an unknown job has nothing", async () => {
      const id = await submit(current());
      const unknown = `${id.slice(0, -1)}${id.endsWith("z") ? "y" : "z"}` as JobId;
      expect(await current().findJob(unknown)).toBeUndefined();
      expect(await current().listEvents(unknown, 0, 10)).toEqual([]);
      expect(await current().countAhead(unknown)).toBeUndefined();
      await expect(current().cancelJob(unknown, cancel, dawn)).rejects.toMatchObject({
        code: "not_found",
      });
    });

    test("jobs are listed newest first, page by page", async () => {
      const ids: JobId[] = [];
      for (let count = 0; count < 5; count++) ids.unshift(await submit(current()));
      const seen: JobId[] = [];
      let pageToken: string | undefined;
      do {
        const page = await current().listJobs({ ...anyJob, pageSize: 2, pageToken });
        seen.push(...page.rows.map((job) => job.id));
        pageToken = page.nextPageToken;
      } while (pageToken !== undefined);
      expect(seen).toEqual(ids);
    });

    test("filters are joined by and", async () => {
      const red = await submit(current(), { name: "Alpha", labels: { colour: "red", size: "s" } });
      const blue = await submit(current(), { name: "beta", labels: { colour: "blue" } }, dawn + 10);
      const green = await submit(current(), { tenant: "other", name: "alphabet" }, dawn + 20);
      const list = async (query: object) => {
        const page = await current().listJobs({ ...anyJob, ...query });
        return page.rows.map((job) => job.id);
      };
      expect(await list({ labels: { colour: "red" } })).toEqual([red]);
      expect(await list({ text: "ALPHA" })).toEqual([green, red]);
      expect(await list({ text: blue })).toEqual([blue]);
      expect(await list({ tenant: "other", text: "alpha" })).toEqual([green]);
      expect(await list({ submittedAfter: dawn + 10, submittedBefore: dawn + 20 })).toEqual([blue]);
      expect(await list({ states: ["running"] })).toEqual([]);
      expect(await list({ tenant: "nobody" })).toEqual([]);
    });

    test("a foreign page token is refused", async () => {
      const query = { ...anyJob, pageToken: "what" };
      await expect(current().listJobs(query)).rejects.toMatchObject({ code: "invalid_argument" });
    });

    test("due jobs come oldest deadline first", async () => {
      const late = await submit(current(), { deadline: dawn + 30 });
      const early = await submit(current(), { deadline: dawn + 20 });
      await submit(current(), { deadline: dawn + 99 });
      const due = await current().listDue(dawn + 30, 10);
      expect(due.map((job) => job.id)).toEqual([early, late]);
      expect(await current().listDue(dawn + 30, 1)).toMatchObject([{ id: early }]);
    });

    test("stages enter the history of a job that is not over", async () => {
      const id = await submit(current());
      const over = await jobIn(current(), "failed");
      const stage = { stage: "pulling", workerId: undefined, message: "pulls the image" } as const;
      await current().recordStages(
        [
          { jobId: id, ...stage },
          { jobId: over, ...stage },
        ],
        dawn + 1,
      );
      expect(await current().listEvents(id, 1, 10)).toMatchObject([
        { sequence: 2, version: 1, stage: "pulling", message: "pulls the image" },
      ]);
      const events = await current().listEvents(over, 0, 100);
      expect(events.at(-1)?.stage).toBe("ended");
    });

    test("a long history keeps its ends and says what is missing", async () => {
      const id = await submit(current());
      const stage = { jobId: id, stage: "pulling", workerId: undefined, message: "pulls" } as const;
      await current().recordStages(
        Array.from({ length: 500 }, () => stage),
        dawn + 1,
      );
      const events = await current().listEvents(id, 0, 1_000);
      expect(events.length).toBeLessThanOrEqual(200);
      expect(events[0]?.sequence).toBe(1);
      expect(events.at(-1)?.sequence).toBe(501);
      const kept = events.length + events.reduce((sum, event) => sum + event.dropped, 0);
      expect(kept).toBe(501);
    });
  });
}
