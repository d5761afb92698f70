import { status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { AttemptId } from "#job/id.ts";
import { resultOf } from "../fake/agent.ts";
import { type Gateway, startGateway } from "../fake/gateway.ts";

const creditBytes = 1_000;

let gateway: Gateway;
beforeEach(async () => {
  gateway = await startGateway({
    limits: { logWaitMs: 60_000 },
    agentLimits: { creditBytes, logRetryMs: 1 },
  });
});
afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
});

async function assigned(slots = 1) {
  const { agent } = await gateway.agent({ slots });
  const control = agent.control();
  await gateway.submit(slots);
  const assignments = [];
  for (let at = 0; at < slots; at++) assignments.push(await control.next("assignment"));
  const logs = agent.logs();
  await vi.waitFor(() => expect(logs.credit).toBe(creditBytes));
  return { agent, control, logs, assignments };
}

describe("the Logs stream", () => {
  test("G17: a batch is acknowledged only once it is durable, and its credit comes back then", async () => {
    const { control, logs, assignments } = await assigned();
    const [one] = assignments;
    if (one === undefined) throw new Error("no assignment");
    gateway.logStore.hold();
    logs.send(one, 1, Buffer.alloc(400));
    logs.send(one, 2, Buffer.alloc(300));
    await control.sync();
    expect(logs.acked.size).toBe(0);
    expect(logs.credit).toBe(300);
    gateway.logStore.release();
    await vi.waitFor(() => expect(logs.acked.get(one.attemptId)).toBe(2));
    await vi.waitFor(() => expect(logs.credit).toBe(creditBytes));
    // A batch that is already there is acknowledged again.
    logs.send(one, 2, Buffer.alloc(300));
    await vi.waitFor(() => expect(logs.credit).toBe(creditBytes));
    expect(gateway.logStore.logs.get(one.attemptId as AttemptId)?.batches).toHaveLength(2);
  });

  test("a full disk withholds the credit, and the batches are stored when there is room", async () => {
    const { logs, assignments } = await assigned();
    const [one] = assignments;
    if (one === undefined) throw new Error("no assignment");
    gateway.logStore.isFull = true;
    for (let number = 1; number <= 3; number++) logs.send(one, number, Buffer.from([number]));
    await vi.waitFor(() => expect(gateway.counts.get("log_disk_full")).toBeGreaterThan(3));
    expect(logs.credit).toBe(creditBytes - 3);
    expect(logs.acked.size).toBe(0);
    gateway.logStore.isFull = false;
    await vi.waitFor(() => expect(logs.acked.get(one.attemptId)).toBe(3));
    const stored = gateway.logStore.logs.get(one.attemptId as AttemptId)?.batches;
    expect(stored?.map(({ bytes }) => bytes[0])).toEqual([1, 2, 3]);
    expect(logs.credit).toBe(creditBytes);
  });

  test("bytes that are no log end that attempt's log and leave the others alone", async () => {
    const { logs, assignments } = await assigned(2);
    const [one, other] = assignments;
    if (one === undefined || other === undefined) throw new Error("no assignment");
    logs.send(one, 1, Buffer.from([255]));
    logs.send(other, 1, Buffer.from([1]));
    await vi.waitFor(() => expect(logs.fenced).toContain(one.attemptId));
    await vi.waitFor(() => expect(logs.acked.get(other.attemptId)).toBe(1));
    await vi.waitFor(() => expect(logs.credit).toBe(creditBytes));
  });

  test("who sends beyond the credit loses the stream", async () => {
    const { logs, assignments } = await assigned();
    const [one] = assignments;
    if (one === undefined) throw new Error("no assignment");
    gateway.logStore.hold();
    for (let number = 1; number <= 3; number++) logs.send(one, number, Buffer.alloc(200_000));
    await vi.waitFor(() => expect(logs.error).toMatchObject({ code: status.RESOURCE_EXHAUSTED }));
  });
});

describe("the end of a log", () => {
  test("G22: a result is stored once its last log batch is durable", async () => {
    const { control, logs, assignments } = await assigned();
    const [one] = assignments;
    if (one === undefined) throw new Error("no assignment");
    gateway.logStore.hold();
    logs.send(one, 1, Buffer.from([1]));
    control.send(resultOf(one, { lastLogBatch: 2 }));
    await control.sync();
    gateway.logStore.release();
    await vi.waitFor(() => expect(logs.acked.get(one.attemptId)).toBe(1));
    await control.sync();
    expect(control.count("resultAck")).toBe(0);
    expect((await gateway.job(one.jobId)).state).toBe("starting");
    logs.send(one, 2, Buffer.from([2]));
    await control.next("resultAck");
    const log = gateway.logStore.logs.get(one.attemptId as AttemptId);
    expect(log?.end?.missing).toBeUndefined();
    expect(log?.batches).toHaveLength(2);
    expect((await gateway.job(one.jobId)).state).toBe("succeeded");
  });

  test("G22: a log that does not come ends with a gap", async () => {
    await gateway[Symbol.asyncDispose]();
    gateway = await startGateway({ limits: { logWaitMs: 1 }, agentLimits: { creditBytes } });
    const { control, assignments } = await assigned();
    const [one] = assignments;
    if (one === undefined) throw new Error("no assignment");
    control.send(resultOf(one, { lastLogBatch: 3 }));
    expect(await control.next("resultAck")).toMatchObject({ fenced: false });
    const log = gateway.logStore.logs.get(one.attemptId as AttemptId);
    expect(log?.end?.missing).toBe("lost");
  });

  test("a result whose connection went away waits for the next one", async () => {
    const { agent, control, logs, assignments } = await assigned();
    const [one] = assignments;
    if (one === undefined) throw new Error("no assignment");
    control.send(resultOf(one, { lastLogBatch: 1 }));
    await control.sync();
    control.close();
    const { attemptId, jobId } = one;
    const again = agent.control({ held: [{ attemptId, jobId, state: 4 }] });
    await again.sync();
    logs.send(one, 1, Buffer.from([1]));
    await vi.waitFor(() => expect(logs.acked.get(attemptId)).toBe(1));
    again.send(resultOf(one, { lastLogBatch: 1 }));
    expect(await again.next("resultAck")).toMatchObject({ fenced: false });
  });
});
