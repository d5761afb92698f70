import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { attemptIdOf, type JobId, workerIdOf } from "#job/id.ts";
import { AttemptState } from "#rpc/gen/hodei/v1/job.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import type { ReplicaStore } from "#store/store.ts";
import { FakeAgent, resultOf, startedOf } from "../fake/agent.ts";
import { type Gateway, startGateway } from "../fake/gateway.ts";
import { FakeLogStore } from "../fake/logstore.ts";

const starting = AttemptState.ATTEMPT_STATE_STARTING;
const running = AttemptState.ATTEMPT_STATE_RUNNING;

let gateway: Gateway;
beforeEach(async () => {
  gateway = await startGateway();
});
afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
});

describe("results", () => {
  test("G6: a repeated result is acknowledged again and changes nothing", async () => {
    const { agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit();
    const assignment = await control.next("assignment");
    const result = resultOf(assignment, { exitCode: 3, endedAt: new Date(1_700_000_000_000) });
    control.send(result, result);
    await control.next("resultAck");
    const after = await gateway.job(assignment.jobId);
    expect(after).toMatchObject({ state: "failed", failure: { cause: "exit_code" } });
    control.close();
    const { attemptId, jobId } = assignment;
    const state = AttemptState.ATTEMPT_STATE_ENDED;
    const again = agent.control({ held: [{ attemptId, jobId, state }] });
    again.send(result);
    expect(await again.next("resultAck")).toEqual({ attemptId, fenced: false });
    await again.sync();
    expect(again.count("fenced")).toBe(0);
    expect(await gateway.job(jobId)).toEqual(after);
  });

  test("G6: a result is acknowledged after a restart of the server", async () => {
    const { store, logStore } = gateway;
    const { agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit();
    const assignment = await control.next("assignment");
    control.send(startedOf(assignment));
    await control.sync();
    await gateway[Symbol.asyncDispose]();
    gateway = await startGateway({ store, logStore });
    const { workerId } = agent.options;
    const { address } = gateway;
    await using back = new FakeAgent({ address, workerId, session: agent.session });
    const { attemptId, jobId } = assignment;
    const logs = back.logs();
    logs.send(assignment, 1, Buffer.from([1]));
    const again = back.control({ held: [{ attemptId, jobId, state: running }] });
    again.send(resultOf(assignment, { lastLogBatch: 1 }));
    expect(await again.next("resultAck")).toEqual({ attemptId, fenced: false });
    expect((await gateway.job(jobId)).state).toBe("succeeded");
    expect(logs.fenced.size).toBe(0);
  });

  test("a start and its result in one message are one step", async () => {
    const store = openMemoryStore();
    const startAttempts = vi.spyOn(store, "startAttempts");
    await gateway[Symbol.asyncDispose]();
    gateway = await startGateway({ store });
    const { agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit();
    const assignment = await control.next("assignment");
    control.send(startedOf(assignment), resultOf(assignment));
    await control.next("resultAck");
    expect(startAttempts).not.toHaveBeenCalled();
    expect((await gateway.job(assignment.jobId)).attempts[0]?.startedAt).toBeDefined();
  });

  test("after a job that was over at once, the next start waits a moment for its end, and no longer", async () => {
    const store = openMemoryStore();
    const startAttempts = vi.spyOn(store, "startAttempts");
    await gateway[Symbol.asyncDispose]();
    gateway = await startGateway({ store });
    const { agent } = await gateway.agent({ maxJobs: 3 });
    const control = agent.control();
    await gateway.submit(3);
    const first = await control.next("assignment");
    control.send(startedOf(first), resultOf(first));
    const short = await control.next("assignment");
    control.send(startedOf(short));
    await control.sync();
    control.send(resultOf(short));
    const long = await control.next("assignment");
    expect(startAttempts).not.toHaveBeenCalled();
    control.send(startedOf(long));
    await vi.waitFor(async () => expect((await gateway.job(long.jobId)).state).toBe("running"));
    expect((await gateway.job(short.jobId)).state).toBe("succeeded");
  });

  test("an outcome that cannot be stored is asked for again", async () => {
    const store = openMemoryStore();
    await gateway[Symbol.asyncDispose]();
    gateway = await startGateway({ store });
    const { agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit();
    const assignment = await control.next("assignment");
    vi.spyOn(store, "finishAttempts").mockRejectedValueOnce(new Error("no room"));
    control.send(resultOf(assignment));
    expect(await control.error()).toMatchObject({ details: expect.stringContaining("again") });
    const { attemptId, jobId } = assignment;
    const state = AttemptState.ATTEMPT_STATE_ENDED;
    const again = agent.control({ held: [{ attemptId, jobId, state }] });
    again.send(resultOf(assignment));
    expect(await again.next("resultAck")).toMatchObject({ fenced: false });
  });
});

describe("at hello", () => {
  test("a claim that was stored and never sent is sent", async () => {
    const { id, agent } = await gateway.agent();
    await gateway.submit();
    // The server died between the two.
    const attemptIds = [attemptIdOf(new Uint8Array(17).fill(7))];
    const claim = { count: 1, attemptIds, deadline: Date.now() + 60_000, bindsTenant: true };
    const [claimed] = await gateway.store.claimNext(id, claim, Date.now());
    const control = agent.control();
    const assignment = await control.next("assignment");
    expect(assignment).toMatchObject({ attemptId: attemptIds[0], jobId: claimed?.jobId, go: true });
    control.send(resultOf(assignment));
    expect(await control.next("resultAck")).toMatchObject({ fenced: false });
  });

  test("what the agent holds is kept and not sent again", async () => {
    const { agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit();
    const { attemptId, jobId } = await control.next("assignment");
    const again = agent.control({ held: [{ attemptId, jobId, state: starting }] });
    await again.sync();
    await again.sync(2);
    expect(again.count("assignment")).toBe(0);
    expect(again.count("fenced")).toBe(0);
  });

  test("an attempt that ran and that the agent lost is over", async () => {
    const { agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit();
    const assignment = await control.next("assignment");
    control.send(startedOf(assignment));
    await control.sync();
    const again = agent.control();
    await again.next("welcome");
    await vi.waitFor(async () =>
      expect(await gateway.job(assignment.jobId)).toMatchObject({
        state: "failed",
        failure: { cause: "worker_died", stage: "running", userCodeMayHaveRun: true },
      }),
    );
    expect([...gateway.logStore.logs.values()][0]?.end).toMatchObject({ missing: "lost" });
  });

  test("a cancel that the agent has missed is repeated", async () => {
    const { agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit();
    const { attemptId, jobId } = await control.next("assignment");
    control.close();
    const cancel = {
      reason: "why not",
      actor: "me",
      deadline: Date.now() + 60_000,
      expiresAt: Date.now(),
    };
    await gateway.store.cancelJob(jobId as JobId, cancel, Date.now());
    const again = agent.control({ held: [{ attemptId, jobId, state: running }] });
    expect(await again.next("cancel")).toMatchObject({
      attemptId,
      grace: { seconds: 30, nanos: 0 },
    });
  });
});

describe("losing a worker", () => {
  test("G23: ends what ran, and what had been sent and may have run", async () => {
    const { id, agent } = await gateway.agent({ slots: 2 });
    const control = agent.control();
    const [first, second] = await gateway.submit(2);
    const assignment = await control.next("assignment");
    control.send(startedOf(assignment));
    await control.sync();
    control.close();
    await vi.waitFor(() => expect(gateway.attempts.isConnected(id)).toBe(false));
    const worker = await gateway.store.findWorker(id);
    if (worker === undefined) throw new Error("no worker");
    await gateway.attempts.loseWorker(worker, {
      stage: "running",
      cause: "worker_died",
      blame: "node",
      message: "it is gone",
      userCodeMayHaveRun: true,
      evidence: {},
    });
    expect(await gateway.job(first ?? "")).toMatchObject({
      state: "failed",
      failure: { stage: "running", userCodeMayHaveRun: true },
    });
    expect(await gateway.job(second ?? "")).toMatchObject({
      state: "failed",
      infraRetries: 0,
      attempts: [{ failure: { stage: "preparing", userCodeMayHaveRun: true } }],
    });
  });

  test("a worker that another hand took its attempt from has a free slot", async () => {
    const { id, agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit(2);
    const assignment = await control.next("assignment");
    gateway.attempts.fenceAttempt(id, assignment.attemptId as never);
    await control.next("fenced");
    expect((await control.next("assignment")).jobId).not.toBe(assignment.jobId);
  });

  test("an end that was stored by another hand is noticed after its deadline", async () => {
    await gateway[Symbol.asyncDispose]();
    gateway = await startGateway({ limits: { suspectMs: 200, startMs: 1, graceMs: 0 } });
    const { agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit();
    const { jobId, attemptId } = await control.next("assignment");
    const { version } = await gateway.job(jobId);
    const failure = {
      stage: "preparing",
      cause: "start_timeout",
      blame: "system",
      message: "not started in time",
      userCodeMayHaveRun: false,
      evidence: {},
    } as const;
    const next = { kind: "over", expiresAt: Date.now() + 60_000 } as const;
    const move = { jobId: jobId as JobId, version, move: "fail", failure, next } as const;
    expect(await gateway.store.moveJobs([move], Date.now())).toEqual([true]);
    expect(await control.next("fenced")).toEqual({ attemptId });
  });
});

describe("silence", () => {
  test("a restarted server gives every worker the whole tolerance, and tells its jobs of silence once", async () => {
    const store = openMemoryStore();
    const logStore = new FakeLogStore();
    await gateway[Symbol.asyncDispose]();
    gateway = await startGateway({ store, logStore });
    const { id, agent } = await gateway.agent();
    const control = agent.control();
    const [jobId] = await gateway.submit();
    const { attemptId } = await control.next("assignment");
    await gateway[Symbol.asyncDispose]();

    const clock = { now: 1_000 };
    gateway = await startGateway({
      store,
      logStore,
      limits: { suspectMs: 100 },
      monotonic: () => (clock.now += 5),
    });
    expect(gateway.attempts.listSilent()).toEqual([]);
    await vi.waitFor(() => expect(gateway.attempts.listSilent()).toHaveLength(1));
    expect(gateway.attempts.listSilent()[0]?.workerId).toBe(id);
    const histories = async () =>
      (await store.listEvents(jobId as JobId, 0, 100)).map(({ message }) => message);
    await vi.waitFor(async () => expect(await histories()).toContain("the worker is silent"));

    const { address } = gateway;
    await using back = new FakeAgent({ address, workerId: id, session: agent.session });
    const again = back.control({ held: [{ attemptId, jobId: jobId ?? "", state: starting }] });
    await again.sync();
    await vi.waitFor(async () => expect(await histories()).toContain("the worker is back"));
    expect((await histories()).filter((message) => message.includes("silent"))).toHaveLength(1);
  });

  test("a worker that another server heard until it ended is not called silent", async () => {
    const store = openMemoryStore();
    let rounds = 0;
    const replicas = {
      hear: async () => undefined,
      listHeard: async () => ({ ids: rounds++ === 0 ? [workerIdOf(1)] : [], last: 1 }),
    } as Partial<ReplicaStore> as ReplicaStore;
    await gateway[Symbol.asyncDispose]();
    let now = 0;
    const monotonic = (): number => (now += 15);
    gateway = await startGateway({
      store: { ...store, replicas },
      limits: { suspectMs: 100 },
      monotonic,
    });
    gateway.attempts.lead(true);
    await vi.waitFor(() => expect(rounds).toBeGreaterThan(20));
    expect(gateway.counts.get("suspect")).toBeUndefined();
    expect(gateway.attempts.listSilent()).toEqual([]);
  });
});
