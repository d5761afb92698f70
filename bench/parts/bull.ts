import { spawn } from "node:child_process";
import { type ConnectionOptions, Queue, Worker } from "bullmq";
import { inLots, type Lot, pace, quantile } from "./spin.ts";

/** BullMQ on a Redis: the producer, and (in a process of its own) the worker. Finished jobs are removed, as its guide advises for speed. */
export const calls = {
  submitMany,
  addMany,
  paced,
  work,
  rest,
  finished,
  count: () => done,
  starts,
  empty,
  stop,
};

interface At {
  readonly port: number;
  readonly queue: string;
}

const options = { removeOnComplete: true, removeOnFail: true } as const;
const queues = new Map<string, Queue>();
let workers: readonly Worker[] = [];
let done = 0;
let startDelays: number[] = [];
const waiters = new Set<() => void>();

function queueOf({ port, queue }: At): Queue {
  const known = queues.get(`${port}/${queue}`);
  if (known !== undefined) return known;
  const made = new Queue(queue, { connection: connectionOf(port), defaultJobOptions: options });
  queues.set(`${port}/${queue}`, made);
  return made;
}

function connectionOf(port: number): ConnectionOptions {
  return { host: "127.0.0.1", port, maxRetriesPerRequest: null };
}

/** So many submits, so many of them in flight. */
async function submitMany(load: At & Lot & { readonly specBytes: number }): Promise<void> {
  const queue = queueOf(load);
  const payload = "x".repeat(load.specBytes);
  await inLots(load, () => queue.add("job", { payload, at: 0 }));
}

/** Fills the queue. */
async function addMany(
  load: At & { readonly count: number; readonly specBytes: number },
): Promise<void> {
  const queue = queueOf(load);
  const payload = "x".repeat(load.specBytes);
  for (let left = load.count; left > 0; left -= 500) {
    const some = Array.from({ length: Math.min(left, 500) }, () => ({
      name: "job",
      data: { payload, at: 0 },
    }));
    await queue.addBulk(some);
  }
}

/** One submit every so often, whatever the answers do. */
async function paced(
  load: At & { readonly perSecond: number; readonly count: number },
): Promise<void> {
  const queue = queueOf(load);
  const payload = "x".repeat(1000);
  await pace(load, () =>
    queue.add("job", { payload, at: performance.timeOrigin + performance.now() }),
  );
}

/** Starts workers, one unless told, each with so many slots: `noop`, or such that run a shell that echoes. */
async function work(
  load: At & {
    readonly slots: number;
    readonly workers?: number;
    readonly kind: "noop" | "echo";
  },
): Promise<void> {
  const perform = load.kind === "noop" ? noop : echo;
  const process = async (job: { data: { at: number } }): Promise<void> => {
    if (job.data.at > 0) startDelays.push(performance.timeOrigin + performance.now() - job.data.at);
    await perform();
  };
  const settings = { connection: connectionOf(load.port), concurrency: load.slots };
  workers = Array.from(
    { length: load.workers ?? 1 },
    () => new Worker(load.queue, process, settings),
  );
  // Redis has acknowledged the end of the job by then, as a server has acknowledged a result.
  for (const worker of workers) worker.on("completed", complete);
  await Promise.all(workers.map((worker) => worker.waitUntilReady()));
}

function complete(): void {
  done++;
  for (const waiter of waiters) waiter();
}

function noop(): Promise<void> {
  return Promise.resolve();
}

function echo(): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("sh", ["-c", "echo hello"], { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.resume();
    child.stderr.resume();
    child.once("error", reject);
    child.once("close", () => resolve());
  });
}

/** Resolves once so many jobs are done in all. */
async function finished(count: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const look = (): void => {
      if (done < count) return;
      waiters.delete(look);
      resolve();
    };
    waiters.add(look);
    look();
  });
}

/** Time from add to start of the jobs since the last call. */
function starts(): { readonly p50Ms: number; readonly p99Ms: number; readonly count: number } {
  const seen = startDelays;
  startDelays = [];
  return { p50Ms: quantile(seen, 0.5), p99Ms: quantile(seen, 0.99), count: seen.length };
}

async function empty(at: At): Promise<void> {
  await queueOf(at).obliterate({ force: true });
}

/** Ends the workers. */
async function rest(): Promise<void> {
  await Promise.all(workers.map((worker) => worker.close()));
  workers = [];
}

async function stop(): Promise<void> {
  await Promise.all(workers.map((worker) => worker.close(true)));
  for (const queue of queues.values()) await queue.close();
}
