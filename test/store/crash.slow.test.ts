import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isFinal, type JobState } from "#job/state.ts";
import type { AttemptId, JobId, WorkerId } from "#job/id.ts";
import { openSqliteStore } from "#store/sqlite/open.ts";
import type { Store } from "#store/store.ts";
import { anyJob, claimOf, dawn, hash, newJob, readyWorker } from "../conformance/store/make.ts";

/** What the child was told is durable; one line each. */
interface Fact {
  readonly submitted?: readonly JobId[];
  readonly redeemed?: WorkerId;
  readonly assigned?: readonly { readonly jobId: JobId; readonly attemptId: AttemptId }[];
  readonly finished?: JobId;
  readonly state?: JobState;
  readonly requeued?: JobId;
  readonly ended?: WorkerId;
  readonly done?: boolean;
}

const child = join(import.meta.dirname, "crash-child.ts");

/** Runs the child until it dies at the commit, or ends. */
function crash(path: string, commit: number, when: string): Promise<readonly Fact[]> {
  return new Promise((resolve) => {
    execFile(process.execPath, [child, path, String(commit), when], (_error, out) => {
      const lines = out.split("\n").filter((line) => line !== "");
      resolve(lines.map((line) => JSON.parse(line) as Fact));
    });
  });
}

/** Every acknowledged fact is there. */
async function checkFacts(store: Store, facts: readonly Fact[]): Promise<void> {
  for (const fact of facts) {
    for (const id of fact.submitted ?? []) expect(await store.findJob(id)).toBeDefined();
    for (const { jobId, attemptId } of fact.assigned ?? []) {
      const job = await store.findJob(jobId);
      expect(job?.attempts.map((attempt) => attempt.id)).toContain(attemptId);
    }
    if (fact.finished !== undefined) {
      expect(await store.findJob(fact.finished)).toMatchObject({ state: fact.state });
    }
    if (fact.requeued !== undefined) {
      expect((await store.findJob(fact.requeued))?.spentAttempts).toBeGreaterThan(0);
    }
    const worker = fact.redeemed ?? fact.ended;
    if (worker !== undefined) expect((await store.findWorker(worker))?.readyAt).toBe(dawn);
    if (fact.ended !== undefined) {
      expect(await store.findWorker(fact.ended)).toMatchObject({ state: "ended" });
    }
  }
}

/** Nothing is half done: states, versions, attempts, histories, workers and demand agree. */
async function checkWhole(store: Store): Promise<void> {
  const { rows } = await store.listJobs({ ...anyJob, pageSize: 500 });
  for (const job of rows) {
    const events = await store.listEvents(job.id, 0, 500);
    const versions = [...new Set(events.map((event) => event.version))];
    expect(versions).toEqual(Array.from({ length: job.version }, (_, place) => place + 1));
    expect(events.at(-1)?.state).toBe(job.state);
    expect(isFinal(job.state)).toBe(job.deadline === undefined);
    const open = job.attempts.filter((attempt) => attempt.state !== "ended");
    const isOnWorker = ["starting", "running", "cancelling"].includes(job.state);
    expect(open.length).toBe(isOnWorker ? 1 : 0);
    for (const { workerId } of open) {
      expect((await store.findWorker(workerId))?.jobs).toContain(job.id);
    }
  }
  const demand = await store.readDemand(dawn);
  const queued = rows.filter((job) => job.state === "queued").length;
  expect(demand.reduce((sum, kind) => sum + kind.queued, 0)).toBe(queued);
}

/** It goes on: a new job gets a new id, and all that waits can be claimed once. */
async function checkUse(store: Store): Promise<void> {
  const before = await store.listJobs({ ...anyJob, pageSize: 500 });
  const idempotency = { key: "k3", specHash: hash("x"), expiresAt: dawn + 1 };
  const [added] = await store.submitJobs([newJob({ tenant: "later", idempotency })], dawn);
  if (added?.kind !== "accepted") throw new Error("the new job was refused");
  expect(before.rows.every((job) => job.id < added.id)).toBe(true);
  const worker = await readyWorker(store, 99);
  const given = await store.claimNext(worker, claimOf(500), dawn);
  const queued = before.rows.filter((job) => job.state === "queued").map((job) => job.id);
  expect(given.map((one) => one.jobId).toSorted()).toEqual([...queued, added.id].toSorted());
}

async function checkCrash(commit: number, when: string): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), "hodei-crash-"));
  try {
    const path = join(folder, "store.db");
    const facts = await crash(path, commit, when);
    const store = await openSqliteStore({ path });
    try {
      await checkFacts(store, facts);
      await checkWhole(store);
      await checkUse(store);
    } finally {
      await store[Symbol.asyncDispose]();
    }
    return facts.some((fact) => fact.done);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test.for(["before", "after"])(
  "what was acknowledged survives a kill just %s any commit, and nothing is half done",
  async (when) => {
    for (let commit = 1; ; commit += 2) {
      const over = await Promise.all([checkCrash(commit, when), checkCrash(commit + 1, when)]);
      if (over.includes(true)) {
        expect(commit).toBeGreaterThan(20);
        return;
      }
    }
  },
);
