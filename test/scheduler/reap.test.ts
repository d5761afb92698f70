import { describe, expect, test, vi } from "vitest";
import { type WorkerId, workerIdOf } from "#job/id.ts";
import type { ProviderEvent } from "#provider/provider.ts";
import { applyEvent } from "#scheduler/reap-events.ts";
import { ScriptedProvider } from "../fake/provider.ts";
import { createWorld, startFailure, type World } from "./world.ts";

async function stateOf(world: World, id: WorkerId) {
  return (await world.store.findWorker(id))?.state;
}

/** A job whose worker has been created and has not called back. */
async function starting(world: World) {
  const jobId = await world.submit();
  await world.provision();
  const [worker] = await world.store.listLiveWorkers();
  if (worker === undefined) throw new Error("no worker was planned");
  return { jobId, workerId: worker.id };
}

const apply = (world: World, event: ProviderEvent) =>
  applyEvent(world.parts, world.rounds.events, event);

describe("a worker that does not start", () => {
  test("is stopped after its start deadline, and its job gets the evidence and another worker", async () => {
    const world = await createWorld();
    const { jobId, workerId } = await starting(world);
    world.pass(world.parts.limits.startDeadlineMs + 1);
    await world.reap();
    await world.reap();
    expect(await stateOf(world, workerId)).toBe("ended");
    expect(world.provider.resources.size).toBe(0);
    const events = await world.store.listEvents(jobId, 0, 100);
    expect(events.at(-1)?.failure).toMatchObject({
      cause: "start_timeout",
      evidence: { uid: "scripted-1" },
    });
    expect(await world.job(jobId)).toMatchObject({ state: "queued", infraRetries: 1 });
  });

  test("keeps its time when the wall clock jumps", async () => {
    const world = await createWorld();
    const { workerId } = await starting(world);
    await world.reap();
    world.clock.wall += world.parts.limits.startDeadlineMs * 10;
    await world.reap();
    expect(await stateOf(world, workerId)).toBe("starting");
    world.pass(world.parts.limits.startDeadlineMs + 1);
    await world.reap();
    await world.reap();
    expect(await stateOf(world, workerId)).toBe("ended");
  });

  test("G24: a cause that can pass is told at once, and ends the start only at the deadline", async () => {
    const world = await createWorld();
    const { jobId, workerId } = await starting(world);
    await apply(world, { kind: "failed", workerId, failure: startFailure, canPass: true });
    expect(await world.messages(jobId)).toContain("creating: the quota is used up");
    expect(await stateOf(world, workerId)).toBe("starting");
    world.pass(world.parts.limits.startDeadlineMs + 1);
    await world.reap();
    await world.reap();
    expect((await world.store.findWorker(workerId))?.failure).toEqual(startFailure);
  });

  test("what held up a start is no cause of a later end", async () => {
    const world = await createWorld();
    const { workerId } = await starting(world);
    await apply(world, { kind: "failed", workerId, failure: startFailure, canPass: true });
    await world.redeem();
    world.provider.kill(workerId);
    await apply(world, { kind: "gone", workerId, failure: undefined });
    expect(await world.store.findWorker(workerId)).toMatchObject({
      state: "ended",
      failure: undefined,
    });
  });

  test("a cause that cannot pass ends it at once, and the job too when the user is to blame", async () => {
    const world = await createWorld();
    const { jobId, workerId } = await starting(world);
    const failure = { ...startFailure, blame: "user" as const };
    await apply(world, { kind: "failed", workerId, failure, canPass: false });
    await world.reap();
    expect(await stateOf(world, workerId)).toBe("ended");
    expect(await world.job(jobId)).toMatchObject({ state: "failed", failure });
  });

  test("is ended when its provider says that it is gone", async () => {
    const world = await createWorld();
    const { jobId, workerId } = await starting(world);
    world.provider.kill(workerId);
    await apply(world, { kind: "gone", workerId, failure: undefined });
    expect(await stateOf(world, workerId)).toBe("ended");
    expect(await world.job(jobId)).toMatchObject({ state: "queued", infraRetries: 1 });
  });
});

describe("G9: a silent worker", () => {
  test("keeps its job while nobody knows whether it lives, until the job's tolerance has passed", async () => {
    const world = await createWorld();
    const { jobId, workerId } = await world.run({ disconnectToleranceMs: 100_000 });
    world.provider.deathAnswer = "unknown";
    world.attempts.silent.set(workerId, 100_000);
    await world.reap();
    expect(world.attempts.lost).toEqual([]);
    world.attempts.silent.set(workerId, 100_000 + world.parts.limits.graceMs + 1);
    await world.reap();
    expect(world.attempts.lost).toMatchObject([{ workerId, failure: { cause: "worker_lost" } }]);
    expect((await world.job(jobId)).state).toBe("failed");
    expect(await stateOf(world, workerId)).toBe("stopping");
  });

  test("is over at once when its provider confirms its death", async () => {
    const world = await createWorld();
    const { jobId, workerId } = await world.assign();
    world.provider.kill(workerId, "ended");
    world.attempts.silent.set(workerId, 31_000);
    await world.reap();
    expect(world.attempts.lost).toMatchObject([{ failure: { cause: "worker_died" } }]);
    expect(await stateOf(world, workerId)).toBe("ended");
    expect((await world.job(jobId)).state).toBe("queued");
  });

  test("loses each job by that job's own tolerance", async () => {
    const world = await createWorld({ reuse: { slots: 2, maxJobs: 2 } });
    const short = await world.submit({ disconnectToleranceMs: 1_000 });
    const long = await world.submit({ disconnectToleranceMs: 900_000 });
    await world.provision();
    const workerId = await world.redeem();
    expect(await world.claim(workerId, 2)).toHaveLength(2);
    world.provider.deathAnswer = "unknown";
    world.attempts.silent.set(workerId, 60_000);
    await world.reap();
    expect((await world.job(short)).state).toBe("queued");
    expect((await world.job(long)).state).toBe("starting");
    expect(await stateOf(world, workerId)).toBe("ready");
  });

  test("without a job is stopped after the default tolerance", async () => {
    const world = await createWorld();
    const { workerId } = await starting(world);
    await world.redeem();
    const { disconnectToleranceMs, graceMs } = world.parts.limits;
    world.attempts.silent.set(workerId, disconnectToleranceMs);
    await world.reap();
    expect(await stateOf(world, workerId)).toBe("ready");
    world.attempts.silent.set(workerId, disconnectToleranceMs + graceMs + 1);
    await world.reap();
    await world.reap();
    expect(await stateOf(world, workerId)).toBe("ended");
  });
});

describe("G12: no orphans", () => {
  test("what the store does not know, or says is over, is stopped with the second list", async () => {
    const world = await createWorld();
    const stranger = workerIdOf(7);
    world.provider.addStranger(stranger);
    const { workerId } = await starting(world);
    await world.store.endWorker(
      workerId,
      { failure: undefined, expiresAt: world.clock.wall + 1_000_000 },
      world.clock.wall,
    );
    await world.list();
    expect(world.provider.stopped).toEqual([]);
    await world.list();
    expect(world.provider.stopped.toSorted()).toEqual([stranger, workerId].toSorted());
    expect(world.provider.resources.size).toBe(0);
  });

  test("a live worker is never taken for an orphan", async () => {
    const world = await createWorld();
    await starting(world);
    for (let at = 0; at < 3; at++) await world.list();
    expect(world.provider.stopped).toEqual([]);
    expect(world.provider.resources.size).toBe(1);
  });

  test("a worker whose resource is gone is ended, and its job placed again", async () => {
    const world = await createWorld();
    const { jobId, workerId } = await world.assign();
    world.provider.kill(workerId);
    await world.list();
    expect(await stateOf(world, workerId)).toBe("ended");
    expect((await world.job(jobId)).state).toBe("queued");
  });

  test("a worker is not ended before its end is confirmed", async () => {
    const world = await createWorld();
    const { workerId } = await starting(world);
    await world.store.stopWorker(workerId, { reason: "asked" }, world.clock.wall);
    world.provider.stopError = new Error("no answer");
    await world.reap();
    expect(await stateOf(world, workerId)).toBe("stopping");
    world.provider.stopError = undefined;
    world.provider.deathAnswer = "unknown";
    world.pass(60_000);
    await world.reap();
    expect(await stateOf(world, workerId)).toBe("stopping");
    world.provider.deathAnswer = undefined;
    world.pass(60_000);
    await world.reap();
    expect(await stateOf(world, workerId)).toBe("ended");
  });
});

test("a worker that is done and does not leave is stopped after a grace", async () => {
  const world = await createWorld();
  const { workerId } = await starting(world);
  await world.redeem();
  await world.store.drainWorker(workerId, "asked", world.clock.wall);
  await world.reap();
  expect(await stateOf(world, workerId)).toBe("draining");
  world.pass(world.parts.limits.leaveGraceMs);
  await world.reap();
  await world.reap();
  expect(await stateOf(world, workerId)).toBe("ended");
});

test("a worker whose job failed is kept for as long as the job wished", async () => {
  const provider = new ScriptedProvider({ bindsJob: true });
  const world = await createWorld({ providers: [provider] });
  const holdMs = 600_000;
  const { jobId, workerId, attemptId } = await world.run({ holdMs });
  const endedAt = world.clock.wall;
  const outcome = {
    exitCode: 1,
    signal: undefined,
    failure: startFailure,
    startedAt: endedAt,
    endedAt,
    peak: undefined,
  };
  const expiresAt = endedAt + 10 * holdMs;
  const next = { kind: "over", expiresAt } as const;
  const finish = { jobId, attemptId, outcome, move: "fail", next, expiresAt } as const;
  await world.store.finishAttempts([finish], endedAt);
  await world.reap();
  world.pass(holdMs - 1);
  await world.reap();
  await world.reap();
  expect(await stateOf(world, workerId)).toBe("ready");
  world.pass(1);
  await world.reap();
  await world.reap();
  expect(await stateOf(world, workerId)).toBe("ended");
});

test("a worker that leaves on purpose is ended, and nobody is blamed", async () => {
  const world = await createWorld();
  const { workerId } = await starting(world);
  await world.redeem();
  world.provider.kill(workerId);
  await apply(world, { kind: "gone", workerId, failure: undefined });
  expect(await world.store.findWorker(workerId)).toMatchObject({
    state: "ended",
    failure: undefined,
  });
});

test("a notice of stopping drains the worker, and its job is told", async () => {
  const world = await createWorld();
  const { jobId, workerId } = await world.run();
  await apply(world, { kind: "stopping", workerId, reason: "node drain", noticeMs: 30_000 });
  expect(await stateOf(world, workerId)).toBe("draining");
  expect(world.attempts.told).toEqual([`drain ${workerId}`]);
  expect((await world.messages(jobId)).at(-1)).toContain("node drain");
});

test("a worker that dies with its job tells the provider's reason", async () => {
  const world = await createWorld();
  const { workerId } = await world.run();
  const failure = { ...startFailure, stage: "running" as const, cause: "out_of_memory" as const };
  world.provider.kill(workerId);
  await apply(world, { kind: "gone", workerId, failure });
  expect(world.attempts.lost).toEqual([{ workerId, failure }]);
});

test("an end that an event and a round find together counts once", async () => {
  const world = await createWorld();
  const { jobId, workerId } = await starting(world);
  world.provider.kill(workerId);
  await Promise.all([
    apply(world, { kind: "gone", workerId, failure: startFailure }),
    world.rounds.events.ends.end(workerId, startFailure),
  ]);
  expect((await world.job(jobId)).infraRetries).toBe(1);
  expect(world.parts.providers.view()[0]?.pauses.size).toBe(1);
});

test("a worker that redeems its token while it is being ended leaves no job behind", async () => {
  const world = await createWorld();
  const { jobId, workerId } = await starting(world);
  const { store } = world;
  const findWorker = vi.spyOn(store, "findWorker");
  findWorker.mockImplementationOnce(async (id) => {
    const found = await store.findWorker(id);
    await world.redeem(workerId);
    await world.claim(workerId);
    return found;
  });
  await world.rounds.events.ends.end(workerId, startFailure);
  expect(await stateOf(world, workerId)).toBe("ended");
  expect(await world.job(jobId)).toMatchObject({ state: "queued", infraRetries: 1 });
});
