import { describe, expect, test, vi } from "vitest";
import { isFinal, jobStates } from "#job/state.ts";
import { createWorld, type World } from "./world.ts";

/** Rounds until nothing more happens, time passing between them. */
async function settle(world: World): Promise<void> {
  for (let at = 0; at < 4; at++) {
    await world.rounds.sweep.round();
    await world.reap();
    await world.reap();
    world.pass(60_000);
  }
}

async function cancelled(world: World) {
  const assigned = await world.run();
  const { wall } = world.clock;
  await world.store.cancelJob(
    assigned.jobId,
    { reason: "", actor: "", deadline: wall + 45_000, expiresAt: wall + 1_000_000 },
    wall,
  );
  return assigned;
}

/** How a job gets into each state that is not final, and what the sweep makes of it. */
const owners = {
  queued: {
    enter: async (world: World) => ({ jobId: await world.submit({ queueTimeoutMs: 50_000 }) }),
    end: { state: "timed_out", failure: { cause: "queue_timeout" } },
  },
  starting: {
    enter: (world: World) => world.assign(),
    end: { state: "queued", infraRetries: 1 },
  },
  running: {
    enter: (world: World) => world.run(),
    end: { state: "timed_out", failure: { cause: "execution_timeout", blame: "user" } },
  },
  cancelling: { enter: cancelled, end: { state: "cancelled" } },
};

describe("G7: nothing is silently stuck", () => {
  test.for(jobStates.filter((state) => !isFinal(state)))(
    "a %s job whose deadline has passed goes on",
    async (state) => {
      const owner = owners[state as keyof typeof owners];
      const world = await createWorld();
      const { jobId } = await owner.enter(world);
      expect((await world.job(jobId)).state).toBe(state);
      await world.rounds.sweep.round();
      expect((await world.job(jobId)).state).toBe(state);
      world.pass(world.parts.limits.disconnectToleranceMs + 100_000);
      await settle(world);
      expect(await world.job(jobId)).toMatchObject(owner.end);
    },
  );
});

test("G11: a cancel that its agent did not confirm ends the job, and the worker with every process", async () => {
  const world = await createWorld();
  const { jobId, workerId, attemptId } = await cancelled(world);
  world.pass(45_001);
  await world.rounds.sweep.round();
  expect((await world.job(jobId)).state).toBe("cancelled");
  await world.reap();
  expect(world.provider.stopped).toEqual([workerId]);
  expect(world.attempts.told).toContain(`fence ${attemptId}`);
  expect(world.ended.get(attemptId)).toMatchObject({ missing: "lost" });
});

test("G9: a job that did not start in time is placed again only when its worker's end is confirmed", async () => {
  const world = await createWorld();
  const { jobId, workerId } = await world.assign();
  world.pass(60_001);
  world.provider.deathAnswer = "unknown";
  await world.rounds.sweep.round();
  await world.reap();
  expect(await world.job(jobId)).toMatchObject({ state: "starting" });
  expect((await world.store.findWorker(workerId))?.state).toBe("stopping");
  world.provider.deathAnswer = undefined;
  world.pass(60_000);
  await world.reap();
  expect(await world.job(jobId)).toMatchObject({ state: "queued" });
});

test("G9: when nobody can confirm it, the job waits for its tolerance, no longer", async () => {
  const world = await createWorld();
  const { jobId } = await world.assign({ disconnectToleranceMs: 100_000 });
  world.provider.deathAnswer = "unknown";
  world.pass(60_000 + 100_000);
  await world.rounds.sweep.round();
  expect((await world.job(jobId)).state).toBe("starting");
  world.pass(world.parts.limits.graceMs + 1);
  await world.rounds.sweep.round();
  expect((await world.job(jobId)).state).toBe("queued");
});

test("G9: one stuck job of a shared worker waits for its agent's word or its tolerance, and moves without ending its neighbours", async () => {
  const world = await createWorld({ reuse: { slots: 2, maxJobs: 2 } });
  const one = await world.submit();
  const two = await world.submit();
  await world.provision();
  const workerId = await world.redeem();
  const [, second] = await world.claim(workerId, 2);
  if (second === undefined) throw new Error("not assigned");
  world.attempts.connected.add(workerId);
  const { wall } = world.clock;
  await world.store.startAttempts(
    [{ jobId: two, attemptId: second.attemptId, startedAt: wall, deadline: wall + 9_000_000 }],
    wall,
  );
  world.pass(60_001);
  await world.rounds.sweep.round();
  expect((await world.job(one)).state).toBe("starting");
  const { disconnectToleranceMs, graceMs } = world.parts.limits;
  world.pass(disconnectToleranceMs + graceMs);
  await world.rounds.sweep.round();
  expect((await world.job(one)).state).toBe("queued");
  expect((await world.job(two)).state).toBe("running");
  expect((await world.store.findWorker(workerId))?.state).toBe("ready");
});

test("G10: a jump of the wall clock expires nothing", async () => {
  const world = await createWorld();
  const id = await world.submit({ queueTimeoutMs: 50_000 });
  await world.rounds.sweep.round();
  world.clock.wall += 3_600_000;
  await world.rounds.sweep.round();
  expect((await world.job(id)).state).toBe("queued");
  world.pass(49_000);
  await world.rounds.sweep.round();
  expect((await world.job(id)).state).toBe("queued");
  world.pass(1_001);
  await world.rounds.sweep.round();
  expect((await world.job(id)).state).toBe("timed_out");
});

test("G10: after a restart a running job gets its tolerance again", async () => {
  const before = await createWorld();
  const { jobId } = await before.run();
  const world = await createWorld({
    store: before.store,
    providers: [before.provider],
    wall: before.clock.wall + 86_400_000,
  });
  const { disconnectToleranceMs, graceMs } = world.parts.limits;
  world.pass(disconnectToleranceMs + graceMs - 1);
  await world.rounds.sweep.round();
  expect((await world.job(jobId)).state).toBe("running");
  world.pass(1);
  await world.rounds.sweep.round();
  expect((await world.job(jobId)).state).toBe("timed_out");
});

test("a queue timeout says how the providers stood", async () => {
  const world = await createWorld();
  world.provider.refusal = "has no images";
  const id = await world.submit({ queueTimeoutMs: 50_000 });
  world.pass(50_001);
  expect(await world.rounds.sweep.round()).toBe(1);
  const { failure } = await world.job(id);
  expect(failure).toMatchObject({
    cause: "queue_timeout",
    userCodeMayHaveRun: false,
    evidence: { scripted: "has no images" },
  });
  expect(world.ended.size).toBe(0);
});

test("G22: the log of a job that went on while the round was under way stays open", async () => {
  const world = await createWorld();
  const { jobId, attemptId } = await world.run();
  world.pass(world.parts.limits.disconnectToleranceMs + 100_000);
  const { store, clock } = world;
  vi.spyOn(store, "findWorker").mockImplementationOnce(async () => {
    const cancel = { reason: "", actor: "", deadline: clock.wall + 45_000, expiresAt: clock.wall };
    await store.cancelJob(jobId, cancel, clock.wall);
    return undefined;
  });
  expect(await world.rounds.sweep.round()).toBe(0);
  expect((await world.job(jobId)).state).toBe("cancelling");
  expect(world.ended.has(attemptId)).toBe(false);
});

test("the end of a job is logged under its correlation id, whoever ends it", async () => {
  const world = await createWorld();
  const jobId = await world.submit({ queueTimeoutMs: 50_000 });
  world.pass(50_001);
  await world.rounds.sweep.round();
  expect(world.lines).toContainEqual(
    expect.objectContaining({ jobId, correlationId: "test", move: "time_out" }),
  );
});
