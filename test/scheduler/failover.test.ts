import { describe, expect, test } from "vitest";
import type { Failure } from "#job/failure.ts";
import type { WorkerId } from "#job/id.ts";
import { noPreference } from "#worker/class.ts";
import { applyEvent } from "#scheduler/reap-events.ts";
import { ScriptedProvider } from "../fake/provider.ts";
import { resources } from "./snapshot.ts";
import { createWorld, startFailure, type World, type WorldOptions } from "./world.ts";

const deadlineMs = 240_000;

async function createPair(options: WorldOptions = {}) {
  const bad = new ScriptedProvider({ name: "bad" });
  const good = new ScriptedProvider({ name: "good" });
  const world = await createWorld({ ...options, providers: [bad, good] });
  return { bad, good, world };
}

type Pair = Awaited<ReturnType<typeof createPair>>;

/** The newest worker on `bad`. */
async function newest({ store }: World): Promise<WorkerId> {
  const workers = await store.listLiveWorkers();
  const id = workers.findLast(
    ({ state, provider }) => provider === "bad" && state !== "stopping",
  )?.id;
  if (id === undefined) throw new Error("no worker");
  return id;
}

/** How a start on `bad` fails, each to be done after the job was submitted. */
const failures: Readonly<Record<string, (pair: Pair) => Promise<unknown>>> = {
  "the create call is refused": async ({ bad, world }) => {
    bad.starts.push({ kind: "fail", failure: startFailure });
    await world.provision();
  },
  "the create call breaks off": async ({ bad, world }) => {
    bad.starts.push({ kind: "unknown" });
    await world.provision();
  },
  "the answer of the create call is lost": async ({ bad, world }) => {
    bad.starts.push({ kind: "lost" });
    await world.provision();
  },
  "the worker never calls back": async ({ world }) => {
    await world.provision();
    world.pass(deadlineMs + 1);
    await world.reap();
  },
  "the image cannot be fetched": async ({ world }) => {
    await world.provision();
    const failure: Failure = { ...startFailure, stage: "pulling", message: "the registry is gone" };
    const event = {
      kind: "failed",
      workerId: await newest(world),
      failure,
      canPass: false,
    } as const;
    await applyEvent(world.parts, world.rounds.events, event);
  },
  "the worker is gone before it calls back": async ({ world }) => {
    await world.provision();
    const event = { kind: "gone", workerId: await newest(world), failure: undefined } as const;
    await applyEvent(world.parts, world.rounds.events, event);
  },
  "the worker is gone before it had work": async ({ world }) => {
    await world.provision();
    const workerId = await world.redeem(await newest(world));
    await applyEvent(world.parts, world.rounds.events, {
      kind: "gone",
      workerId,
      failure: { ...startFailure, blame: "node" },
    });
  },
  "the worker is gone before its process starts": async ({ world }) => {
    await world.provision();
    const workerId = await world.redeem(await newest(world));
    await world.claim(workerId);
    await applyEvent(world.parts, world.rounds.events, {
      kind: "gone",
      workerId,
      failure: { ...startFailure, blame: "node", stage: "preparing" },
    });
  },
};

describe.for(Object.entries(failures))("when %s", ([, fail]) => {
  test("the job goes to the next provider at once, and none of its attempts is spent", async () => {
    const pair = await createPair();
    const { world, good } = pair;
    const id = await world.submit();
    await fail(pair);
    await world.provision();
    expect(good.started).toHaveLength(1);
    expect(await world.job(id)).toMatchObject({ state: "queued", spentAttempts: 0 });
    const own = (await world.store.listLiveWorkers()).find(({ provider }) => provider === "good");
    expect(own?.forJob).toBe(id);
  });

  test("again and again, the provider's circuit opens, and a probe brings it back", async () => {
    const pair = await createPair({ strategies: { standard: "first_available" } });
    const { world, bad } = pair;
    const { providers } = world.parts;
    const circuit = () => providers.view()[0]?.circuit.state;
    for (let count = 0; count < 5 && circuit() === "closed"; count++) {
      // Each job of a class of its own, so that no pause of the class hides the provider.
      await world.submit(sized(count));
      const before = bad.started.length;
      await fail(pair);
      expect(bad.started.length).toBeGreaterThan(before);
    }
    expect(circuit()).toBe("open");
    const before = bad.started.length;
    await world.submit(sized(90));
    await world.provision();
    expect(bad.started.length).toBe(before);
    world.pass(60_000);
    for (const cpuMillis of [91, 92, 93]) await world.submit(sized(cpuMillis));
    await world.provision();
    expect(circuit()).toBe("half_open");
    expect(bad.started.length).toBe(before + 1);
  });
});

const sized = (cpuMillis: number) => ({ resources: { ...resources, cpuMillis } });

describe("when an image cannot be had", () => {
  const failure: Failure = { ...startFailure, stage: "pulling", message: "no such host" };
  const fail = ({ starts }: ScriptedProvider) => starts.push({ kind: "fail", failure });

  test("anywhere, the job fails with the cause after a few tries", async () => {
    const { world, bad, good } = await createPair();
    const id = await world.submit({ image: "a" });
    for (let at = 0; at < 3; at++) {
      expect((await world.job(id)).state).toBe("queued");
      fail(bad);
      fail(good);
      await world.provision();
      if (at === 1) world.pass(world.parts.limits.startBackoffMs);
    }
    expect(await world.job(id)).toMatchObject({ state: "failed", failure });
    expect(bad.started.length + good.started.length).toBe(3);
  });

  test("here, and the next provider has no room yet, the job waits for that", async () => {
    const bad = new ScriptedProvider({ name: "bad" });
    const good = new ScriptedProvider({ name: "good", maxWorkers: 0 });
    const world = await createWorld({ providers: [bad, good] });
    const id = await world.submit({ image: "a" });
    for (let at = 0; at < 5; at++) {
      fail(bad);
      await world.provision();
      world.pass(world.parts.limits.maxStartBackoffMs);
    }
    expect(bad.started).toHaveLength(5);
    expect((await world.job(id)).state).toBe("queued");
  });

  test("here, and the next provider never takes the class, the job fails", async () => {
    const bad = new ScriptedProvider({ name: "bad" });
    const good = new ScriptedProvider({ name: "good" });
    const world = await createWorld({ providers: [bad, good] });
    const provider = { ...noPreference, name: "bad", isStrict: true };
    const id = await world.submit({ image: "a", provider });
    for (let at = 0; at < 3; at++) {
      fail(bad);
      await world.provision();
      world.pass(world.parts.limits.maxStartBackoffMs);
    }
    expect(await world.job(id)).toMatchObject({ state: "failed", failure });
    expect(good.started).toEqual([]);
  });

  test("whoever named it does not take the provider from others", async () => {
    const { world, bad } = await createPair({ strategies: { standard: "first_available" } });
    for (let at = 0; at < 6; at++) {
      fail(bad);
      await world.submit({ image: `registry-${at}.invalid/x` });
      await world.provision();
    }
    expect(bad.started).toHaveLength(6);
    expect(world.parts.providers.view()[0]?.circuit).toMatchObject({ state: "closed" });
  });
});

test("what is the user's fault fails the job, and moves nothing", async () => {
  const { world, bad, good } = await createPair();
  const failure: Failure = { ...startFailure, blame: "user", message: "no such image" };
  bad.starts.push({ kind: "fail", failure });
  const id = await world.submit();
  await world.provision();
  await world.provision();
  expect(await world.job(id)).toMatchObject({ state: "failed", failure });
  expect(good.started).toEqual([]);
});

test("a provider has its own start deadline", async () => {
  const { world, good } = await createPair();
  const { providers } = world.parts;
  providers.change("bad", { ...providers.settingsOf("bad"), startDeadlineMs: 5_000 });
  const id = await world.submit();
  await world.provision();
  world.pass(5_001);
  await world.reap();
  await world.provision();
  expect(good.started).toHaveLength(1);
  await world.reap();
  expect((await world.messages(id)).join("\n")).toContain("did not call back within 5 s");
});

test("jobs go on to a third and a fourth provider, and back when the pause of the first is over", async () => {
  const providers = ["a", "b", "c"].map((name) => new ScriptedProvider({ name }));
  const world = await createWorld({ providers });
  for (const { starts } of providers) starts.push({ kind: "fail", failure: startFailure });
  const id = await world.submit();
  for (let round = 0; round < 4; round++) await world.provision();
  expect(providers.map(({ started }) => started.length)).toEqual([1, 1, 1]);
  world.pass(1_000);
  await world.provision();
  expect(providers.map(({ started }) => started.length)).toEqual([2, 1, 1]);
  expect(await world.job(id)).toMatchObject({ state: "queued", spentAttempts: 0 });
});

describe("a hedged start", () => {
  const limits = { hedgeAfterMs: 3_000, hedgePriority: 1_000 };
  const urgent = { priority: 1_000 };

  test("plans a second worker elsewhere, for the same job, when the first is late", async () => {
    const { world, bad, good } = await createPair({ limits });
    const id = await world.submit(urgent);
    await world.provision();
    world.pass(2_999);
    await world.provision();
    expect(good.started).toEqual([]);
    world.pass(1);
    await world.provision();
    await world.provision();
    expect([bad.started.length, good.started.length]).toEqual([1, 1]);
    const workers = await world.store.listLiveWorkers();
    expect(workers.map(({ forJob }) => forJob)).toEqual([id, id]);
  });

  test("is given up when the other worker has the job", async () => {
    const bad = new ScriptedProvider({ name: "bad", bindsJob: true });
    const good = new ScriptedProvider({ name: "good", bindsJob: true });
    const world = await createWorld({ providers: [bad, good], limits });
    const id = await world.submit(urgent);
    await world.provision();
    world.pass(3_000);
    await world.provision();
    const [first] = bad.started;
    const winner = await world.redeem();
    expect(await world.claim(winner)).toMatchObject([{ jobId: id }]);
    await world.reap();
    await world.reap();
    expect(first && bad.resources.has(first.workerId)).toBe(false);
    expect((await world.job(id)).attempts).toMatchObject([{ workerId: winner, provider: "good" }]);
    expect(world.parts.providers.view()[0]?.pauses.size).toBe(0);
  });

  test("is not for jobs of lower priority, and off unless it is asked for", async () => {
    for (const [given, priority] of [
      [limits, 999],
      [{}, 1_000],
    ] as const) {
      const { world, good } = await createPair({ limits: given });
      await world.submit({ priority });
      await world.provision();
      world.pass(100_000);
      await world.provision();
      expect(good.started).toEqual([]);
    }
  });

  test("never exceeds the room of the other provider", async () => {
    const bad = new ScriptedProvider({ name: "bad" });
    const good = new ScriptedProvider({ name: "good", maxWorkers: 1 });
    const world = await createWorld({ providers: [bad, good], limits });
    for (let count = 0; count < 3; count++) await world.submit(urgent);
    await world.provision();
    world.pass(3_000);
    await world.provision();
    expect([bad.started.length, good.started.length]).toEqual([3, 1]);
  });
});
