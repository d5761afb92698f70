import { status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { attemptIdOf } from "#job/id.ts";
import { AttemptState } from "#rpc/gen/hodei/v1/job.ts";
import { createSecret } from "#worker/secret.ts";
import { FakeAgent, resultOf, startedOf } from "../fake/agent.ts";
import { type Gateway, startGateway } from "../fake/gateway.ts";

const isGone = { code: status.UNAUTHENTICATED, details: "worker credentials refused" };

let gateway: Gateway;
beforeEach(async () => {
  gateway = await startGateway();
});
afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
});

describe("identity", () => {
  test("G13: of 50 concurrent claimants of one token exactly one redeems it", async () => {
    const { id, otp } = await gateway.plan();
    const agents = Array.from(
      { length: 50 },
      () => new FakeAgent({ address: gateway.address, workerId: id, otp }),
    );
    const outcomes = await Promise.allSettled(agents.map(async (agent) => agent.redeem()));
    const winners = agents.filter((_agent, index) => outcomes[index]?.status === "fulfilled");
    expect(winners).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject(isGone);
    }
    // The winner may repeat it, since its reply may have been lost.
    await winners[0]?.redeem();
    expect(gateway.counts.get("refused_already_redeemed")).toBe(49);
    const query = { correlationId: "", actor: id, target: "", pageSize: 100, pageToken: undefined };
    const { rows } = await gateway.store.listAudit(query);
    expect(rows.map(({ action, outcome }) => `${action} ${outcome}`)).toEqual(
      Array.from({ length: 49 }, () => "otp_refused already_redeemed"),
    );
    expect(gateway.lines.filter(({ level }) => level === 40)).toHaveLength(49);
    expect(JSON.stringify(gateway.lines)).not.toContain(otp);
    for (const agent of agents) await agent[Symbol.asyncDispose]();
  });

  test.for(["wrong token", "no token", "no session", "unknown worker", "two tokens"])(
    "%s is refused with the same words",
    async (what) => {
      const { id, otp } = await gateway.plan();
      const agent = new FakeAgent({
        address: gateway.address,
        workerId: what === "unknown worker" ? "w00000000001" : id,
        ...(what === "no session" ? { session: "" } : {}),
      });
      const given = {
        "wrong token": createSecret(),
        "no token": "",
        "two tokens": `${otp}, ${otp}`,
      };
      await expect(agent.redeem(given[what as "no token"] ?? otp)).rejects.toMatchObject(isGone);
      await agent[Symbol.asyncDispose]();
    },
  );

  test("a stream with another session is refused", async () => {
    const { id } = await gateway.agent();
    const thief = new FakeAgent({ address: gateway.address, workerId: id });
    expect(await thief.control().error()).toMatchObject(isGone);
    const logs = thief.logs();
    await vi.waitFor(() => expect(logs.error).toMatchObject(isGone));
    await thief[Symbol.asyncDispose]();
  });

  test("a session dies with its worker", async () => {
    const { id, agent } = await gateway.agent();
    await gateway.store.endWorker(id, { failure: undefined, expiresAt: Date.now() }, Date.now());
    expect(await agent.control().error()).toMatchObject(isGone);
  });

  test("G14: closing a replaced connection does not remove the newer one", async () => {
    const { id, agent } = await gateway.agent();
    const older = agent.control();
    await older.next("welcome");
    const newer = agent.control();
    await newer.next("welcome");
    expect(await older.error()).toMatchObject({ code: status.ABORTED });
    older.close();
    await newer.sync();
    expect(gateway.attempts.isConnected(id)).toBe(true);
    await gateway.submit();
    await newer.next("assignment");
    newer.close();
    await vi.waitFor(() => expect(gateway.attempts.isConnected(id)).toBe(false));
  });
});

describe("the Control stream", () => {
  test("runs a job from assignment to result", async () => {
    const { agent } = await gateway.agent();
    const control = agent.control();
    const [id] = await gateway.submit();
    const assignment = await control.next("assignment");
    expect(control.commands[0]?.$case).toBe("welcome");
    expect(assignment).toMatchObject({ jobId: id, attemptNumber: 1, go: true, tenant: "default" });
    control.send(startedOf(assignment));
    await vi.waitFor(async () =>
      expect((await gateway.job(assignment.jobId)).state).toBe("running"),
    );
    control.send(resultOf(assignment));
    expect(await control.next("resultAck")).toEqual({
      attemptId: assignment.attemptId,
      fenced: false,
    });
    expect((await gateway.job(assignment.jobId)).state).toBe("succeeded");
  });

  test("refuses a stream that does not begin with a hello, and one with two", async () => {
    const { agent } = await gateway.agent();
    const rude = agent.control({ hello: false });
    rude.send({ $case: "renewal", value: { sequence: 1, usage: [] } });
    expect(await rude.error()).toMatchObject({ code: status.INVALID_ARGUMENT });
    const twice = agent.control();
    await twice.next("welcome");
    twice.send(agent.hello());
    expect(await twice.error()).toMatchObject({ code: status.INVALID_ARGUMENT });
  });

  test("garbage ends at most its own stream", async () => {
    const { agent } = await gateway.agent();
    const empty = agent.control();
    empty.send(undefined, { $case: "started", value: { attemptId: "", jobId: "", at: undefined } });
    await empty.next("fenced");
    empty.send({
      $case: "result",
      value: {
        attemptId: "../../etc",
        jobId: "j",
        signal: -1,
        failure: undefined,
        startedAt: new Date(-1e15),
        endedAt: undefined,
        lastLogBatch: -5,
        peak: undefined,
      },
    });
    expect(await empty.next("resultAck")).toMatchObject({ fenced: true });
    await empty.sync();
    const raw = agent.client.makeBidiStreamRequest(
      "/hodei.v1.AgentService/Control",
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      agent.metadata(),
      {},
    );
    const broken = new Promise((resolve) => raw.on("error", resolve));
    raw.write(Buffer.from([255, 255, 255, 255, 255, 1, 2, 3]));
    expect(await broken).toMatchObject({ code: status.INVALID_ARGUMENT });
    await agent.control().sync();
  });

  test("answers a renewal at once", async () => {
    const { agent } = await gateway.agent();
    const control = agent.control();
    control.send({ $case: "renewal", value: { sequence: 7, usage: [] } });
    expect(await control.next("renewalAck")).toEqual({ sequence: 7 });
  });

  test("sends all assignments of one turn in one message", async () => {
    const { agent } = await gateway.agent({ slots: 20 });
    const control = agent.control();
    await control.sync();
    await gateway.submit(20);
    await vi.waitFor(() => expect(control.count("assignment")).toBe(20));
    const sizes = control.messages.map(
      ({ commands }) => commands.filter(({ command }) => command?.$case === "assignment").length,
    );
    expect(sizes.filter((size) => size > 0)).toEqual([20]);
  });

  test("a worker that leaves is stopping and is given nothing", async () => {
    const { id, agent } = await gateway.agent();
    const control = agent.control();
    await control.sync();
    control.send({ $case: "goodbye", value: { reason: "asked to" } });
    await vi.waitFor(async () =>
      expect(await gateway.store.findWorker(id)).toMatchObject({ state: "stopping" }),
    );
    const [job] = await gateway.submit();
    expect((await gateway.job(job ?? "")).state).toBe("queued");
  });
});

describe("fencing", () => {
  test("G8: what another worker says of an attempt is fenced and changes nothing", async () => {
    const { agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit();
    const assignment = await control.next("assignment");
    const { agent: other } = await gateway.agent();
    const thief = other.control();
    await thief.sync();
    const before = await gateway.job(assignment.jobId);
    thief.send(startedOf(assignment));
    expect(await thief.next("fenced")).toMatchObject({ attemptId: assignment.attemptId });
    thief.send(resultOf(assignment));
    expect(await thief.next("resultAck")).toMatchObject({ fenced: true });
    const logs = other.logs();
    logs.send(assignment, 1, Buffer.from("stolen"));
    await vi.waitFor(() => expect(logs.fenced).toContain(assignment.attemptId));
    expect(await gateway.job(assignment.jobId)).toEqual(before);
    expect(gateway.logStore.logs.size).toBe(0);
    expect(gateway.counts.get("fenced")).toBe(3);
  });

  test("G8: a stale attempt is fenced at hello, and its result comes too late", async () => {
    const { id, agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit(1, { retry: retryOnce });
    const assignment = await control.next("assignment");
    control.send(startedOf(assignment));
    await control.sync();
    control.close();
    const worker = await gateway.store.findWorker(id);
    if (worker === undefined) throw new Error("no worker");
    await gateway.attempts.loseWorker(worker, lostFailure);
    expect((await gateway.job(assignment.jobId)).state).toBe("queued");

    const { attemptId, jobId } = assignment;
    const state = AttemptState.ATTEMPT_STATE_RUNNING;
    const again = agent.control({ held: [{ attemptId, jobId, state }] });
    expect(await again.next("fenced")).toEqual({ attemptId });
    again.send(resultOf(assignment));
    expect(await again.next("resultAck")).toEqual({ attemptId, fenced: true });
    const next = await again.next("assignment");
    expect(next).toMatchObject({ jobId, attemptNumber: 2 });
    expect(gateway.logStore.logs.get(attemptId as never)?.end).toMatchObject({ missing: "lost" });
  });

  test("an attempt that nobody ever made is fenced", async () => {
    const { agent } = await gateway.agent();
    const attemptId = attemptIdOf(new Uint8Array(17));
    const jobId = "j00000000001";
    const state = AttemptState.ATTEMPT_STATE_RUNNING;
    const control = agent.control({ held: [{ attemptId, jobId, state }] });
    expect(await control.next("fenced")).toEqual({ attemptId });
  });
});

const retryOnce = {
  maxAttempts: 2,
  initialBackoffMs: 0,
  maxBackoffMs: 0,
  multiplier: 1,
  retryableExitCodes: [],
  retryLost: true,
};

const lostFailure = {
  stage: "running",
  cause: "worker_lost",
  blame: "node",
  message: "lost",
  userCodeMayHaveRun: true,
  evidence: {},
} as const;
