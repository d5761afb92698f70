import { expect, test, vi } from "vitest";
import { createMetrics } from "#metrics.ts";
import { countStore } from "#server-counts.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import {
  claimOf,
  dawn,
  day,
  failure,
  newJob,
  otpOf,
  outcome,
  readyWorker,
  workerId,
} from "../conformance/store/make.ts";
import { parseScrape } from "./ground.ts";

test("a result and a token that come again are counted once", async () => {
  const metrics = createMetrics();
  await using store = countStore(openMemoryStore(), metrics);
  await store.submitJobs([newJob()], dawn);
  const id = await readyWorker(store, 1);
  await store.redeem(workerId(1), otpOf(1), dawn + 1);
  const [given] = await store.claimNext(id, claimOf(1), dawn + 1);
  if (given === undefined) throw new Error("nothing was claimed");
  const { jobId, attemptId } = given;
  const next = { kind: "over", expiresAt: dawn + day } as const;
  const end = { jobId, attemptId, outcome: outcome(), next, expiresAt: dawn + day } as const;
  expect(await store.finishAttempts([{ ...end, move: "succeed" }], dawn + 10)).toEqual(["ok"]);
  for (const at of [11, 12]) {
    const answer = await store.finishAttempts([{ ...end, move: "succeed" }], dawn + at);
    expect(answer).toEqual(["repeat"]);
  }
  await vi.waitFor(async () => {
    const { values } = parseScrape((await metrics.read()).text);
    expect(Object.fromEntries(values)).toMatchObject({
      'hodei_jobs_completed_total{status="succeeded"}': 1,
      'hodei_job_duration_seconds_count{provider="process"}': 1,
      'hodei_workers_registered_total{provider="process"}': 1,
    });
  });
});

test("a failed attempt of a job that is being cancelled is the end of a cancelled job", async () => {
  const metrics = createMetrics();
  await using store = countStore(openMemoryStore(), metrics);
  await store.submitJobs([newJob()], dawn);
  const id = await readyWorker(store, 1);
  const [given] = await store.claimNext(id, claimOf(1), dawn + 1);
  if (given === undefined) throw new Error("nothing was claimed");
  const { jobId, attemptId } = given;
  const expiresAt = dawn + day;
  await store.cancelJob(
    jobId,
    { reason: "", actor: "ada", deadline: dawn + day, expiresAt },
    dawn + 2,
  );
  const queued = { kind: "queued", notBefore: dawn, deadline: dawn + day, isSpent: true } as const;
  const end = { jobId, attemptId, outcome: outcome({ exitCode: 3, failure }), expiresAt } as const;
  await store.finishAttempts([{ ...end, move: "requeue", next: queued }], dawn + 10);
  await vi.waitFor(async () => {
    const { values } = parseScrape((await metrics.read()).text);
    expect(values.get('hodei_jobs_completed_total{status="cancelled"}')).toBe(1);
    expect(values.get("hodei_jobs_queued_total")).toBe(0);
  });
});
