import { expect, onTestFinished, test, vi } from "vitest";
import { attemptIdOf, type JobId, type WorkerId } from "#job/id.ts";
import type { Job } from "#job/job.ts";
import { Sharing } from "#scheduler/attempts-sharing.ts";
import { Held, Side } from "#scheduler/attempts-side.ts";
import { createLogger } from "#telemetry.ts";
import type { Worker } from "#worker/worker.ts";

const worker = "w000000000001" as WorkerId;
const stranger = "w000000000002" as WorkerId;
const job = "j000000000001" as JobId;
const attempt = attemptIdOf(Buffer.alloc(16, 1));

/** What a store with two servers on it says is what the test says; what comes of it here is written down. */
function createWorld() {
  const told: string[] = [];
  const workers = new Map<WorkerId, Partial<Worker>>([
    [worker, { id: worker, state: "ready", connection: 1, reason: "" }],
  ]);
  const jobs = new Map<JobId, Partial<Job>>([[job, jobOf("running", worker)]]);
  const heard = { here: [] as WorkerId[][], pages: [] as WorkerId[][], isBroken: false, asked: 0 };
  const looked = { workers: 0, jobs: 0 };
  const store = {
    findWorker: async (id: WorkerId) => {
      looked.workers++;
      return workers.get(id) as Worker | undefined;
    },
    findJob: async (id: JobId) => {
      looked.jobs++;
      return jobs.get(id) as Job | undefined;
    },
  };
  const replicas = {
    hear: async (ids: readonly WorkerId[]) => {
      if (heard.isBroken) throw new Error("the store is away");
      heard.here.push([...ids]);
    },
    listHeard: async (after: number) => {
      heard.asked = after;
      const ids = heard.pages.shift() ?? [];
      return { ids, last: after + ids.length };
    },
  };
  const side = new Side(worker, "class");
  side.connection = 1;
  side.takesWork = true;
  side.link = {} as never;
  const held = new Held(
    {
      jobId: job,
      attemptId: attempt,
      attemptNumber: 1,
      spec: new Uint8Array(0),
      spentAttempts: 0,
      infraRetries: 0,
      correlationId: "c",
    },
    0,
  );
  held.phase = "running";
  side.attempts.set(attempt, held);
  const sides = new Map([[worker, side]]);
  const sharing = new Sharing({ store, log: createLogger("silent") }, replicas, {
    sides,
    heard: (id) => void told.push(`heard ${id}`),
    forget: (id) => void told.push(`forget ${id}`),
    moved: (one) => void told.push(`moved ${one.id}`),
    drain: (id) => void told.push(`drain ${id}`),
    cancel: (one) => {
      told.push(`cancel ${one.id}`);
      held.isCancelTold = true;
    },
    fence: (id, attemptId) => {
      told.push(`fence ${id} ${attemptId}`);
      side.attempts.delete(attemptId);
    },
  });
  onTestFinished(() => sharing.stop());
  const live = (): Worker[] => [...workers.values()] as Worker[];
  /** As many rounds as pass between two looks at all that is held. */
  const lookAround = async (): Promise<void> => {
    for (let round = 0; round < 5; round++) await sharing.compare(live());
  };
  return { told, workers, jobs, heard, looked, side, sides, held, sharing, live, lookAround };
}

function jobOf(state: Job["state"], workerId: WorkerId): Partial<Job> {
  const attempts = [{ id: attempt, workerId, number: 1, state: "running" }] as never;
  return { id: job, state, attempts };
}

test("whom this server heard is told once, and again when that failed", async () => {
  const { heard, sharing } = createWorld();
  sharing.hear(worker);
  sharing.hear(worker);
  heard.isBroken = true;
  await expect(sharing.exchange()).rejects.toThrow("the store is away");
  heard.isBroken = false;
  await sharing.exchange();
  await sharing.exchange();
  expect(heard.here).toEqual([[worker]]);
});

test("whom others heard is read page by page, from where it was read before", async () => {
  const { heard, sharing, told } = createWorld();
  heard.pages.push(Array<WorkerId>(1_000).fill(stranger), [worker]);
  await sharing.exchange();
  expect(told).toHaveLength(1_001);
  expect(told.at(-1)).toBe(`heard ${worker}`);
  await sharing.exchange();
  expect(heard.asked).toBe(1_001);
});

test("a connection that another server has by now is given up here, an older one's number changes nothing", async () => {
  const { workers, sharing, told, live } = createWorld();
  await sharing.compare(live());
  expect(told).toEqual([]);
  workers.set(worker, { id: worker, state: "ready", connection: 2 });
  await sharing.compare(live());
  expect(told).toEqual([`moved ${worker}`]);
});

test("a worker that another server drained is drained, one that it ended is forgotten", async () => {
  const { workers, sharing, told, live } = createWorld();
  workers.set(worker, { id: worker, state: "draining", connection: 1, reason: "enough" });
  await sharing.compare(live());
  expect(told).toEqual([`drain ${worker}`]);
  workers.set(worker, { id: worker, state: "ended", connection: 1 });
  await sharing.compare([]);
  expect(told.at(-1)).toBe(`forget ${worker}`);
});

test("many messages about a worker are one look at it, those about strangers none", async () => {
  const { workers, sharing, told, looked } = createWorld();
  workers.set(worker, { id: worker, state: "ready", connection: 2 });
  for (let count = 0; count < 10; count++) {
    sharing.lookAtWorker(worker);
    sharing.lookAtWorker(stranger);
  }
  await vi.waitFor(() => expect(told).toEqual([`moved ${worker}`]));
  expect(looked.workers).toBe(1);
});

test("a look that was to come is not taken any more once this server stops", () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const { sharing } = createWorld();
  sharing.lookAtWorker(worker);
  expect(vi.getTimerCount()).toBe(1);
  sharing.stop();
  expect(vi.getTimerCount()).toBe(0);
});

test("a cancel by another server is told once, also when it is heard of twice", async () => {
  const { jobs, sharing, told, lookAround } = createWorld();
  jobs.set(job, jobOf("cancelling", worker));
  sharing.lookAtJob(job);
  await vi.waitFor(() => expect(told).toEqual([`cancel ${job}`]));
  sharing.lookAtJob(job);
  await lookAround();
  expect(told).toEqual([`cancel ${job}`]);
});

test("an attempt of a job that another server ended, gave to another worker or deleted is fenced", async () => {
  for (const found of [undefined, jobOf("running", stranger), { id: job, attempts: [] }]) {
    const { jobs, sharing, told } = createWorld();
    if (found === undefined) jobs.delete(job);
    else jobs.set(job, found);
    sharing.lookAtJob(job);
    await vi.waitFor(() => expect(told).toEqual([`fence ${worker} ${attempt}`]));
  }
});

test("an attempt whose end is being stored here is left to the store", async () => {
  for (const phase of ["waiting", "storing"] as const) {
    const { jobs, held, looked, sharing, told } = createWorld();
    held.phase = phase;
    jobs.delete(job);
    sharing.lookAtJob(job);
    await vi.waitFor(() => expect(looked.jobs).toBe(1));
    expect(told).toEqual([]);
  }
});

test("what a lost message would have said is found out some rounds later, and at once after an interruption", async () => {
  const lost = createWorld();
  lost.jobs.set(job, jobOf("cancelling", worker));
  await lost.sharing.compare(lost.live());
  expect(lost.told).toEqual([]);
  await lost.lookAround();
  expect(lost.told).toEqual([`cancel ${job}`]);

  const missed = createWorld();
  missed.jobs.set(job, jobOf("cancelling", worker));
  missed.sharing.lookAtAll();
  await missed.sharing.compare(missed.live());
  expect(missed.told).toEqual([`cancel ${job}`]);
});
