import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Failure } from "#job/failure.ts";
import type { AttemptId, JobId, WorkerId } from "#job/id.ts";
import type { HeldAttempt, WorkerLink } from "#scheduler/scheduler.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import type { Worker } from "#worker/worker.ts";
import { type FakeControl, resultOf } from "../fake/agent.ts";
import { type Gateway, startGateway } from "../fake/gateway.ts";

const died: Failure = {
  stage: "running",
  cause: "worker_lost",
  blame: "node",
  message: "it has been silent for too long",
  userCodeMayHaveRun: true,
  evidence: {},
};

let store: ReturnType<typeof openMemoryStore>;
let gateway: Gateway;
beforeEach(async () => {
  store = openMemoryStore();
  gateway = await startGateway({ store });
});
afterEach(async () => {
  vi.restoreAllMocks();
  await gateway[Symbol.asyncDispose]();
});

/** A connected agent as the gateway sees it; what it is told is written down. */
function recordedLink() {
  const told: string[] = [];
  const link: WorkerLink = {
    assign: ({ attemptId }) => void told.push(`assign ${attemptId}`),
    cancel: (attemptId) => void told.push(`cancel ${attemptId}`),
    drain: () => void told.push("drain"),
    fence: (attemptId) => void told.push(`fence ${attemptId}`),
    acknowledge: (attemptId, answer) => void told.push(`${answer} ${attemptId}`),
    close: (why) => void told.push(`close ${why}`),
  };
  return { told, link };
}

async function redeemed(): Promise<{ readonly id: WorkerId; readonly worker: Worker }> {
  const { id } = await gateway.agent();
  const worker = await store.findWorker(id);
  if (worker === undefined) throw new Error("no worker");
  return { id, worker };
}

async function connect(worker: Worker, link: WorkerLink, held: readonly HeldAttempt[] = []) {
  return gateway.attempts.connect(worker, { slots: 1, hostname: "host", held }, link);
}

/** A worker that holds one attempt. */
async function busy() {
  const { id, worker } = await redeemed();
  const first = recordedLink();
  const connection = await connect(worker, first.link);
  const [jobId] = await gateway.submit();
  await vi.waitFor(() => expect(first.told.some((one) => one.startsWith("assign"))).toBe(true));
  const attemptId = (await gateway.job(jobId ?? "")).attempts[0]?.id as AttemptId;
  return { id, worker, connection, jobId: jobId as JobId, attemptId };
}

/** Holds the next call of a method up until it is let go. */
function holdUp<Name extends "finishAttempts" | "findWorker">(name: Name) {
  const gate = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  const original = store[name].bind(store) as (...args: unknown[]) => Promise<unknown>;
  vi.spyOn(store, name).mockImplementationOnce((async (...args: unknown[]) => {
    reached.resolve();
    await gate.promise;
    return original(...args);
  }) as never);
  return { reached: reached.promise, letGo: () => gate.resolve() };
}

describe("an agent that comes back while its attempts are being lost", () => {
  test("G9: is told that the attempt is not its any more", async () => {
    const { id, worker, connection, jobId, attemptId } = await busy();
    connection.closed();
    const storing = holdUp("finishAttempts");
    const now = await store.findWorker(id);
    const losing = gateway.attempts.loseWorker(now ?? worker, died);
    await storing.reached;
    const again = recordedLink();
    const back = connect(worker, again.link, [{ attemptId, jobId, hasEnded: false }]);
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    storing.letGo();
    await losing;
    await back;
    await vi.waitFor(() => expect(again.told).toContain(`fence ${attemptId}`));
    expect((await gateway.job(jobId)).state).not.toBe("starting");
  });
});

describe("a signal that comes while a hello is compared with the store", () => {
  test("G11: a cancel follows the assignment that it is about", async () => {
    const { worker, connection, jobId, attemptId } = await busy();
    connection.closed();
    const again = recordedLink();
    const reading = vi.spyOn(store, "findJob");
    reading.mockImplementationOnce(async (id) => {
      reading.mockRestore();
      const read = await store.findJob(id);
      const cancel = { reason: "", actor: "me", deadline: Date.now() + 1_000, expiresAt: 0 };
      const job = await store.cancelJob(id, cancel, Date.now());
      gateway.attempts.signalCancel(job, "why not");
      return read;
    });
    await connect(worker, again.link);
    expect(again.told).toEqual([`assign ${attemptId}`, `cancel ${attemptId}`]);
    expect((await gateway.job(jobId)).state).toBe("cancelling");
  });

  test("G8: an attempt that another hand ends is fenced after its assignment", async () => {
    const { id, worker, connection, attemptId } = await busy();
    connection.closed();
    const again = recordedLink();
    const reading = vi.spyOn(store, "findJob");
    reading.mockImplementationOnce(async (jobId) => {
      reading.mockRestore();
      const read = await store.findJob(jobId);
      gateway.attempts.fenceAttempt(id, attemptId);
      return read;
    });
    await connect(worker, again.link);
    expect(again.told).toEqual([`assign ${attemptId}`, `fence ${attemptId}`]);
  });
});

test("G7: a worker that redeemed its token and never connected is silent", async () => {
  await gateway[Symbol.asyncDispose]();
  let clock = 0;
  const limits = { suspectMs: 100 };
  gateway = await startGateway({ store, limits, monotonic: () => (clock += 10) });
  // The first round is over before the worker is there.
  await vi.waitFor(() => expect(clock).toBeGreaterThan(30));
  const { id } = await redeemed();
  await vi.waitFor(() =>
    expect(gateway.attempts.listSilent().map(({ workerId }) => workerId)).toContain(id),
  );
});

test("nothing is given to an agent that connects while the server stops", async () => {
  const { worker } = await redeemed();
  const jobs = await gateway.submit();
  await gateway.attempts[Symbol.asyncDispose]();
  const { told, link } = recordedLink();
  await expect(connect(worker, link)).rejects.toMatchObject({ code: "unavailable" });
  expect(told).toEqual([]);
  expect((await gateway.job(jobs[0] ?? "")).state).toBe("queued");
});

test("idle workers of other tenants stand in nobody's way", async () => {
  const claims = vi.spyOn(store, "claimNext");
  const controls: FakeControl[] = [];
  for (const tenant of [...Array.from({ length: 20 }, () => "others"), "mine"]) {
    await gateway.submit(1, {}, tenant);
    const control = (await gateway.agent()).agent.control();
    controls.push(control);
    await control.next("assignment");
  }
  for (const control of controls) {
    const assignment = control.commands.find((one) => one.$case === "assignment");
    if (assignment !== undefined) control.send(resultOf(assignment.value));
    await control.next("resultAck");
    await control.sync();
  }
  await vi.waitFor(() => expect(claims.mock.settledResults).toHaveLength(claims.mock.calls.length));
  const [jobId] = await gateway.submit(1, {}, "mine");
  const isGiven = async () => expect((await gateway.job(jobId ?? "")).state).toBe("starting");
  await vi.waitFor(isGiven, { timeout: 500 });
});

test("agents that come and go leave nothing behind", async () => {
  const timers = () => process.getActiveResourcesInfo().filter((one) => one === "Timeout").length;
  const before = timers();
  for (let round = 0; round < 10; round++) {
    const { id, agent } = await gateway.agent();
    const controls = [agent.control(), agent.control()];
    const logs = agent.logs();
    await controls[1]?.sync();
    for (const one of [...controls, logs]) one.close();
    await vi.waitFor(() => expect(gateway.attempts.isConnected(id)).toBe(false));
    await agent[Symbol.asyncDispose]();
    await store.endWorker(id, { failure: undefined, expiresAt: 0 }, Date.now());
    gateway.attempts.forgetWorker(id);
  }
  expect(gateway.attempts.stats()).toEqual({ workers: 0, attempts: 0, heard: 0 });
  await vi.waitFor(() => expect(timers()).toBeLessThanOrEqual(before + 2));
});
