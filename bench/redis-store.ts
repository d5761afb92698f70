import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { randomBytes } from "node:crypto";
import { openRedisStore } from "#store/redis/open.ts";
import type { Assignment, NewJob, Store } from "#store/store.ts";
import {
  judge,
  judgeValue,
  notRun,
  type Question,
  type Result,
  type RunOptions,
  takeTurns,
} from "./harness.ts";
import { hasRedis, startRedis } from "./redis.ts";
import { claim, claimCost, finish, start, startWorker } from "./store.ts";

export const question: Question = {
  name: "redis-store",
  asks: "How fast and how small is the store in Redis, against BullMQ on the same Redis?",
  run,
};

const bench = "redis-store";
const inFlight = 256;
const slots = 50;
const counts = { submit: 20_000, life: 10_000, memory: 50_000, few: 1_000, many: 300_000 };
/** Half of it is text that packs badly and half is not, as in BullMQ's. */
const spec = randomBytes(512).toString("hex");

function newJob(): NewJob {
  return {
    tenant: "acme",
    spec: Buffer.from(spec),
    name: "build",
    labels: {},
    classKey: '["",0,0,0,0,"","",false]',
    priority: 0,
    deadline: Date.now() + 86_400_000,
    correlationId: "0f5c1a3e-3f2b-4c7e-9d8e-7b1f0a2c4d6e",
    actor: "anonymous",
    idempotency: undefined,
    maxQueued: 10_000_000,
  };
}

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  if (!hasRedis()) return [notRun(bench, "hodei", "redis-server is missing")];
  await using redis = await startRedis("always");
  const { port } = redis;
  const url = `redis://127.0.0.1:${port}`;
  let instances = 0;
  const open = () => openRedisStore({ url, instance: `bench-${++instances}` });
  await using submits = await open();
  await using whole = await open();
  await using queue = new DisposableQueue(port, "submits");
  const samples = await takeTurns(
    [
      { name: "hodei_submit", measure: () => rate(counts.submit, submitEach(submits)) },
      { name: "bullmq_submit", measure: () => rate(counts.submit, () => queue.add()) },
      { name: "hodei_life", measure: () => lives(whole) },
      { name: "bullmq_life", measure: () => bullLives(port) },
    ],
    rounds,
  );
  const line = { bench, unit: "jobs/s" };
  return [
    judge(samples, { ...line, case: "bullmq_submit" }),
    judge(samples, {
      ...line,
      case: "hodei_submit",
      against: "bullmq_submit",
      target: { of: "ratio", atLeast: 1 },
    }),
    judge(samples, { ...line, case: "bullmq_life" }),
    judge(samples, {
      ...line,
      case: "hodei_life",
      against: "bullmq_life",
      target: { of: "ratio", atLeast: 1 },
    }),
    ...(await memory(port, await open())),
    ...(await claims(await open(), await open(), rounds)),
  ];
}

const submitEach = (store: Store) => () => store.submitJobs([newJob()], Date.now());

/** Steps per second, each for itself, some of them at the same time. */
async function rate(count: number, step: () => Promise<unknown>): Promise<{ value: number }> {
  const began = performance.now();
  let left = count;
  const one = async () => {
    while (left-- > 0) await step();
  };
  await Promise.all(Array.from({ length: inFlight }, one));
  return { value: (count / (performance.now() - began)) * 1000 };
}

class DisposableQueue implements AsyncDisposable {
  readonly queue: Queue;

  constructor(port: number, name: string) {
    this.queue = new Queue(name, {
      connection: { port },
      defaultJobOptions: { removeOnComplete: true },
    });
  }

  add(): Promise<unknown> {
    return this.queue.add("build", { spec });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.queue.close();
  }
}

/** Jobs from submit to their stored end, on one worker of 50 slots, while others are submitted. Each step is a call of its own. */
async function lives(store: Store): Promise<{ value: number }> {
  const worker = await startWorker(store, newJob().classKey);
  let submitted = Promise.withResolvers<void>();
  let busy = 0;
  let done = 0;
  const work = async (one: Assignment) => {
    await start(store, one);
    await finish(store, one);
    busy--;
    done++;
  };
  const began = performance.now();
  const filled = rate(counts.life, async () => {
    await store.submitJobs([newJob()], Date.now());
    submitted.resolve();
  });
  const running = new Set<Promise<void>>();
  while (done + busy < counts.life) {
    submitted = Promise.withResolvers<void>();
    const assigned = busy < slots ? await claim(store, worker, slots - busy) : [];
    for (const one of assigned) {
      busy++;
      const run = work(one).finally(() => running.delete(run));
      running.add(run);
    }
    if (assigned.length === 0) await Promise.race([submitted.promise, ...running]);
  }
  await Promise.all([filled, ...running]);
  return { value: (counts.life / (performance.now() - began)) * 1000 };
}

async function bullLives(port: number): Promise<{ value: number }> {
  const name = `lives-${randomBytes(4).toString("hex")}`;
  await using queue = new DisposableQueue(port, name);
  const all = Promise.withResolvers<void>();
  let done = 0;
  const work = async () => {
    if (++done === counts.life) all.resolve();
  };
  const worker = new Worker(name, work, { connection: { port }, concurrency: slots });
  await worker.waitUntilReady();
  const began = performance.now();
  await rate(counts.life, () => queue.add());
  await all.promise;
  const value = (counts.life / (performance.now() - began)) * 1000;
  await worker.close();
  return { value };
}

/** Bytes of Redis for each queued job of 1 KB. */
async function memory(port: number, store: Store): Promise<readonly Result[]> {
  const redis = new Redis(port);
  const used = async () => Number(/used_memory:(\d+)/.exec(await redis.info("memory"))?.[1]);
  await using queue = new DisposableQueue(port, "memory");
  const each = async (step: () => Promise<unknown>): Promise<number> => {
    await rate(1_000, step);
    const before = await used();
    await rate(counts.memory, step);
    return ((await used()) - before) / counts.memory;
  };
  const bull = await each(() => queue.add());
  const ours = await each(submitEach(store));
  redis.disconnect();
  await store[Symbol.asyncDispose]();
  const line = { bench, unit: "bytes/job" };
  return [
    { ...line, case: "bullmq_memory", value: bull },
    { ...line, case: "hodei_memory", value: ours },
    judgeValue(
      { bench, case: "memory_ratio", unit: "x", value: ours / bull },
      {
        of: "value",
        atMost: 1,
      },
    ),
  ];
}

async function claims(few: Store, many: Store, rounds: number): Promise<readonly Result[]> {
  for (const [store, count] of [
    [few, counts.few],
    [many, counts.many],
  ] as const) {
    const job = { ...newJob(), classKey: "small" };
    for (let done = 0; done < count; done += 500) {
      await store.submitJobs(Array<NewJob>(500).fill(job), Date.now());
    }
  }
  const workers = { few: await startWorker(few), many: await startWorker(many) };
  const samples = await takeTurns(
    [
      { name: "claim_1k", measure: async () => ({ value: await claimCost(few, workers.few, 40) }) },
      {
        name: "claim_300k",
        measure: async () => ({ value: await claimCost(many, workers.many, 40) }),
      },
    ],
    2 * rounds,
  );
  await few[Symbol.asyncDispose]();
  await many[Symbol.asyncDispose]();
  const line = { bench, unit: "us/job" };
  return [
    judge(samples, { ...line, case: "claim_1k" }),
    judge(samples, {
      ...line,
      case: "claim_300k",
      against: "claim_1k",
      target: { of: "ratio", atMost: 1.3 },
    }),
  ];
}
