import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Failure } from "#job/failure.ts";
import { type AttemptId, isAttemptId, type WorkerId } from "#job/id.ts";
import { decodeBatch } from "#log/batch.ts";
import { applyEvent } from "#scheduler/reap-events.ts";
import { type Gateway, startGateway } from "../fake/gateway.ts";
import { createWorld, type World } from "./world.ts";

let gateway: Gateway;
beforeEach(async () => {
  gateway = await startGateway();
});
afterEach(async () => {
  await gateway[Symbol.asyncDispose]();
});

describe("the last words of a worker that died", () => {
  test("are in the system stream of its attempt's log, before its end", async () => {
    const { id, agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit();
    const { attemptId, jobId } = await control.next("assignment");
    const worker = await gateway.store.findWorker(id);
    if (worker === undefined) throw new Error("no worker");
    await gateway.attempts.loseWorker(worker, died, Buffer.from("out of\nmemory"));
    const log = gateway.logStore.logs.get(attemptIdFrom(attemptId));
    expect(log?.end).toMatchObject({ missing: "lost" });
    const [batch, ...more] = log?.batches ?? [];
    expect(more).toEqual([]);
    const [chunk] = decodeBatch(batch?.bytes ?? new Uint8Array());
    expect(chunk).toMatchObject({ stream: "system", firstSequence: 1 });
    expect(Buffer.from(chunk?.data ?? []).toString()).toMatch(/printed last:\nout of\nmemory$/);
    expect(await gateway.job(jobId)).toMatchObject({
      state: "failed",
      failure: { cause: died.cause },
    });
  });

  test("that the disk has no room for do not keep the attempt from its end", async () => {
    const { id, agent } = await gateway.agent();
    const control = agent.control();
    await gateway.submit();
    const { jobId } = await control.next("assignment");
    const worker = await gateway.store.findWorker(id);
    if (worker === undefined) throw new Error("no worker");
    gateway.logStore.isFull = true;
    await gateway.attempts.loseWorker(worker, died, Buffer.from("x"));
    expect((await gateway.job(jobId)).state).toBe("failed");
  });
});

describe("the last words of a worker that ends", () => {
  test("go with its attempts when it died", async () => {
    const world = await createWorld();
    const { workerId } = await world.run();
    const uid = world.provider.resources.get(workerId)?.uid;
    world.provider.tail = async () => "the end\n";
    await gone(world, workerId);
    expect(world.provider.tailsRead).toEqual([{ id: workerId, uid }]);
    expect(world.attempts.lost).toMatchObject([{ workerId, tail: "the end\n" }]);
  });

  test("are kept from the end backwards, in whole lines", async () => {
    const world = await createWorld();
    const { workerId } = await world.run();
    const lines = Array.from({ length: 10_000 }, (_, at) => `line ${at}\n`);
    world.provider.tail = async () => lines.join("");
    await gone(world, workerId);
    const tail = world.attempts.lost[0]?.tail ?? "";
    expect(tail.length).toBeLessThanOrEqual(32 * 1024);
    expect(lines.join("").endsWith(`\n${tail}`)).toBe(true);
    expect(tail).toMatch(/^line \d+\n/);
  });

  test.for([
    ["cannot be read", () => Promise.reject(new Error("gone"))] as const,
    ["never come", () => new Promise<never>(() => undefined)] as const,
  ])("that %s do not keep it from its end", async ([, tail]) => {
    const world = await createWorld();
    const { workerId, jobId } = await world.run();
    world.provider.tail = tail;
    await gone(world, workerId);
    expect(await stateOf(world, workerId)).toBe("ended");
    expect((await world.job(jobId)).state).toBe("failed");
  });

  test("are not asked for when it had no attempt, or was stopped on purpose", async () => {
    const world = await createWorld();
    const { workerId } = await world.run();
    await world.store.stopWorker(workerId, { reason: "enough" }, world.parts.now());
    await world.reap();
    expect(await stateOf(world, workerId)).toBe("ended");
    await world.submit();
    await world.provision();
    const other = world.provider.started.at(-1)?.workerId ?? workerId;
    await gone(world, other);
    expect(world.provider.tailsRead).toEqual([]);
  });
});

async function gone(world: World, workerId: WorkerId): Promise<void> {
  await applyEvent(world.parts, world.rounds.events, { kind: "gone", workerId, failure: died });
}

async function stateOf(world: World, id: WorkerId) {
  return (await world.store.findWorker(id))?.state;
}

const died: Failure = {
  stage: "running",
  cause: "worker_died",
  blame: "node",
  message: "it died",
  userCodeMayHaveRun: true,
  evidence: {},
};

function attemptIdFrom(text: string): AttemptId {
  if (!isAttemptId(text)) throw new Error(`${text} is no attempt`);
  return text;
}
