import { describe, expect, test } from "vitest";
import type { JobId } from "#job/id.ts";
import { explain } from "#scheduler/explain.ts";
import { strategies } from "#scheduler/strategy.ts";
import { ScriptedProvider } from "../fake/provider.ts";
import { createWorld, startFailure, type World } from "./world.ts";

async function ask(world: World, id: JobId) {
  const options = { strategy: strategies.first_available, weightOf: () => 1 };
  return explain(world.parts, options, await world.job(id));
}

describe("explain", () => {
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
