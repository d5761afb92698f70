import { describe, expect, test } from "vitest";
import { type JobId, workerIdOf } from "#job/id.ts";
import { explain, explainWish } from "#scheduler/explain.ts";
import { createStrategies } from "#scheduler/strategies.ts";
import { classKeyOf, classOf, noPreference } from "#worker/class.ts";
import { ScriptedProvider } from "../fake/provider.ts";
import { createWorld, spec, startFailure, type World } from "./world.ts";

async function ask(world: World, id: JobId) {
  const options = { strategies: createStrategies(), weightOf: () => 1 };
  return explain(world.parts, options, await world.job(id));
}

describe("explain", () => {
  test("says of every provider its price, its expected start and its circuit, and what the score is made of", async () => {
    const providers = [
      new ScriptedProvider({ name: "cheap", pricePerHour: 1, startEstimateMs: 30_000 }),
      new ScriptedProvider({ name: "dear", pricePerHour: 4, startEstimateMs: 3_000 }),
      new ScriptedProvider({ name: "off" }),
    ];
    const world = await createWorld({ providers });
    const known = world.parts.providers;
    known.change("off", { ...known.settingsOf("off"), isEnabled: false });
    const id = await world.submit({ provider: { ...noPreference, strategy: "balanced" } });
    const answer = await ask(world, id);
    expect(answer.providers).toMatchObject([
      { provider: "cheap", pricePerHour: 1, startEstimateMs: 30_000, circuit: "closed" },
      { provider: "dear", pricePerHour: 4, startEstimateMs: 3_000, circuit: "closed" },
      { provider: "off", isEligible: false, reason: "is disabled", rank: 0, parts: {} },
    ]);
    const sums = answer.providers.map(({ parts, score }) => {
      const { health = 0, cost = 0, startup = 0, capacity = 0 } = parts;
      return score - (health + cost + startup + capacity) / 4;
    });
    expect(sums.map((rest) => Math.abs(rest) < 1e-9)).toEqual([true, true, true]);
  });

  test("a job that waits for a provider to work again says why that is", async () => {
    const world = await createWorld();
    const id = await world.submit();
    world.provider.state = { state: "unhealthy", reason: "the engine is gone" };
    await world.parts.providers.refresh();
    world.provider.state = { state: "degraded", reason: "" };
    await world.parts.providers.refresh();
    expect((await ask(world, id)).summary).toBe("waits for a worker, to be started on scripted");
    const start = { id: workerIdOf(1), provider: "scripted", classKey: "", plannedAt: Infinity };
    world.parts.providers.startFailed(start, startFailure);
    expect((await ask(world, id)).summary).toBe(
      "waits for a worker: scripted is given nothing for now: a probe failed: the quota is used up",
    );
  });

  test("a job that nobody has submitted is explained, and nothing is kept", async () => {
    const world = await createWorld();
    await world.submit();
    const options = { strategies: createStrategies(), weightOf: () => 1 };
    const wish = { classKey: classKeyOf(classOf(spec)), tenant: "a" };
    expect(await explainWish(world.parts, options, wish)).toMatchObject({
      stage: "selecting",
      summary: "waits for a worker, to be started on scripted",
      jobsAhead: 1,
      tenantShare: 1,
      providers: [{ provider: "scripted", isEligible: true, rank: 1 }],
    });
    expect(await world.store.readDemand(world.parts.now())).toMatchObject([{ queued: 1 }]);
  });

  test("a job that waits for room says how much is in use", async () => {
    const provider = new ScriptedProvider({ name: "process", maxWorkers: 1 });
    const world = await createWorld({ providers: [provider] });
    await world.run();
    const first = await world.submit();
    const second = await world.submit();
    await world.provision();
    expect(await ask(world, second)).toMatchObject({
      stage: "queued",
      summary: "waits for a worker: 1 of 1 workers busy on process",
      jobsAhead: 1,
      providers: [{ provider: "process", isEligible: false, rank: 0 }],
    });
    expect((await ask(world, first)).jobsAhead).toBe(0);
  });

  test("a job that nobody can run says why", async () => {
    const world = await createWorld();
    world.provider.refusal = "has no images";
    const answer = await ask(world, await world.submit());
    expect(answer.stage).toBe("selecting");
    expect(answer.summary).toBe("no provider can run it: scripted: has no images");
  });

  test("a job whose worker starts says how far that is", async () => {
    const world = await createWorld();
    const id = await world.submit();
    await world.provision();
    world.pass(3_000);
    const answer = await ask(world, id);
    expect(answer.stage).toBe("connecting");
    expect(answer.summary).toContain("has been starting on scripted for 3 s");
  });

  test("a job whose provider pauses says after what", async () => {
    const world = await createWorld();
    world.provider.starts.push({ kind: "fail", failure: startFailure });
    const id = await world.submit();
    await world.provision();
    expect((await ask(world, id)).summary).toContain("the quota is used up");
  });

  test("a tenant's share is its weight among those that wait", async () => {
    const world = await createWorld();
    const id = await world.submit({ tenant: "a" });
    await world.submit({ tenant: "b" });
    expect((await ask(world, id)).tenantShare).toBe(0.5);
  });

  test("ranks the providers that can take it", async () => {
    const providers = [
      new ScriptedProvider({ name: "one" }),
      new ScriptedProvider({ name: "two" }),
    ];
    const world = await createWorld({ providers });
    const answer = await ask(world, await world.submit());
    expect(answer.providers).toMatchObject([
      { provider: "one", isEligible: true, rank: 1 },
      { provider: "two", isEligible: true, rank: 2 },
    ]);
  });

  test("a running job names its worker", async () => {
    const world = await createWorld();
    const { jobId, workerId } = await world.run();
    expect(await ask(world, jobId)).toMatchObject({
      stage: "running",
      summary: `runs on worker ${workerId} (scripted)`,
      jobsAhead: undefined,
    });
  });
});
