import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attemptIdOf, workerIdOf, type AttemptId, type WorkerId } from "#job/id.ts";
import { openSqliteStore } from "#store/sqlite/open.ts";
import type { Assignment, AttemptFinish, NewJob, Store } from "#store/store.ts";
import {
  judge,
  judgeValue,
  type Question,
  type Result,
  type RunOptions,
  takeTurns,
} from "./harness.ts";

export const question: Question = {
  name: "store",
  asks: "How fast is the embedded store, and does the length of its queue matter?",
  run,
};

const million = 1_000_000;
/** These pay for SQLite's page cache and for the heaps of both threads, which do not grow any more. */
const first = 200_000;
const year = 365 * 86_400_000;
let workers = 0;

function newJob(classKey = "small"): NewJob {
  return {
    tenant: "acme",
    spec: spec,
    name: "build",
    labels: {},
    classKey,
    priority: 0,
    deadline: Date.now() + 86_400_000,
    correlationId: "0f5c1a3e-3f2b-4c7e-9d8e-7b1f0a2c4d6e",
    actor: "anonymous",
    idempotency: undefined,
    maxQueued: 10_000_000,
  };
}
const spec = randomBytes(200);

export async function startWorker(store: Store, classKey = "small"): Promise<WorkerId> {
  const now = Date.now();
  const id = workerIdOf(++workers);
  const otpHash = randomBytes(32);
  const plan = { id, provider: "process", classKey, tenant: undefined, resourceName: "w" };
  const more = {
    otpHash,
    otpExpiresAt: now + year,
    startDeadline: now + year,
    isWarm: true,
    isForJobOnly: false,
  };
  await store.planWorkers([{ ...plan, ...more, slots: 50, maxJobs: 100_000_000 }], now);
  await store.redeem(id, { otpHash, sessionHash: randomBytes(32) }, now);
  return id;
}

const attemptIds = (count: number): AttemptId[] =>
  Array.from({ length: count }, () => attemptIdOf(randomBytes(17)));

export async function claim(
  store: Store,
  worker: WorkerId,
  count: number,
): Promise<readonly Assignment[]> {
  const now = Date.now();
  const ids = attemptIds(count);
  const wish = { count, attemptIds: ids, deadline: now + 60_000, bindsTenant: false };
  return store.claimNext(worker, wish, now);
}

export const start = (store: Store, { jobId, attemptId }: Assignment) => {
  const now = Date.now();
  return store.startAttempts([{ jobId, attemptId, startedAt: now, deadline: now + 1000 }], now);
};

export function finish(store: Store, { jobId, attemptId }: Assignment) {
  const now = Date.now();
  const peak = { cpuSeconds: 0.1, memoryBytes: 1e6, outputBytes: 10 };
  const came = { exitCode: 0, signal: undefined, failure: undefined, peak };
  const outcome = { ...came, startedAt: now, endedAt: now };
  const next = { kind: "over", expiresAt: now + year } as const;
  const end: AttemptFinish = { jobId, attemptId, outcome, move: "succeed", next, expiresAt: now };
  return store.finishAttempts([end], now);
}

/** Jobs that go through their whole life in waves of 50, each call for itself, as the server makes them. */
export async function lives(store: Store, count: number): Promise<number> {
  const worker = await startWorker(store);
  const began = performance.now();
  for (let done = 0; done < count; done += 50) {
    const submits = Array.from({ length: 50 }, () => store.submitJobs([newJob()], Date.now()));
    const claimed = claim(store, worker, 50);
    await Promise.all(submits);
    const assigned = await claimed;
    await Promise.all(assigned.map((one) => start(store, one)));
    await Promise.all(assigned.map((one) => finish(store, one)));
  }
  return (count / (performance.now() - began)) * 1000;
}

async function fill(store: Store, count: number, classKey = "small"): Promise<void> {
  const job = newJob(classKey);
  for (let done = 0; done < count; done += 2_000) {
    const jobs = Array.from({ length: Math.min(2_000, count - done) }, () => job);
    await store.submitJobs(jobs, Date.now());
  }
}

/** Microseconds for a claim, start and finish of 50 jobs at a time, refilled so that the queue keeps its length. */
export async function claimCost(store: Store, worker: WorkerId, rounds: number): Promise<number> {
  const costs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    const assigned = await claim(store, worker, 50);
    await Promise.all(assigned.map((one) => finish(store, one)));
    costs.push((performance.now() - began) * 1000);
    await store.submitJobs(
      assigned.map(() => newJob()),
      Date.now(),
    );
  }
  costs.sort((one, other) => one - other);
  return (costs[Math.floor(costs.length / 2)] ?? 0) / 50;
}

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  const folder = mkdtempSync(join(tmpdir(), "hodei-bench-"));
  try {
    return await measure(folder, rounds);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(folder: string, rounds: number): Promise<readonly Result[]> {
  const line = { bench: "store", unit: "us/job" };
  const small = await openSqliteStore({ path: join(folder, "small.db") });
  await lives(small, 5_000);
  const rate = await lives(small, 20_000);

  const path = join(folder, "large.db");
  const large = await openSqliteStore({ path });
  await fill(small, 1_000);
  const empty = process.memoryUsage.rss();
  const began = performance.now();
  await fill(large, first);
  const settled = process.memoryUsage.rss();
  await fill(large, million - first);
  const fillMs = performance.now() - began;
  const full = process.memoryUsage.rss();

  await fill(large, 100_000, "other");
  const workers = {
    few: await startWorker(small),
    many: await startWorker(large),
    behind: await startWorker(large, "other"),
  };
  const samples = await takeTurns(
    [
      {
        name: "claim_1k",
        measure: async () => ({ value: await claimCost(small, workers.few, 40) }),
      },
      {
        name: "claim_1M",
        measure: async () => ({ value: await claimCost(large, workers.many, 40) }),
      },
      {
        name: "claim_behind_1M",
        measure: async () => ({ value: await claimCost(large, workers.behind, 40) }),
      },
    ],
    2 * rounds,
  );

  await large[Symbol.asyncDispose]();
  await small[Symbol.asyncDispose]();
  const opened = performance.now();
  const again = await openSqliteStore({ path });
  const reopenMs = performance.now() - opened;
  await again[Symbol.asyncDispose]();
  const flat = { against: "claim_1k", target: { of: "ratio", atMost: 1.25 } } as const;
  const behind = "another class has a million queued jobs that nobody takes";
  return [
    judgeValue({ bench: "store", case: "submit_claim_start_finish", value: rate, unit: "jobs/s" }),
    judgeValue({ bench: "store", case: "fill", value: (million / fillMs) * 1000, unit: "jobs/s" }),
    judgeValue(
      {
        bench: "store",
        case: "memory",
        value: (full - settled) / (million - first),
        unit: "bytes/job",
        more: { first_mb: (settled - empty) / 1e6, all_bytes_per_job: (full - empty) / million },
        note: `resident growth after the first ${first} jobs; \`first_mb\` is what those took`,
      },
      { of: "value", atMost: 120 },
    ),
    judge(samples, { ...line, case: "claim_1k" }),
    judge(samples, { ...line, case: "claim_1M", ...flat }),
    judge(samples, { ...line, case: "claim_behind_1M", ...flat, note: behind }),
    judgeValue(
      { bench: "store", case: "reopen_1M", value: reopenMs, unit: "ms" },
      { of: "value", atMost: 5_000 },
    ),
  ];
}
