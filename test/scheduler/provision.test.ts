import { describe, expect, test } from "vitest";
import { classKeyOf, classOf, noPreference } from "#worker/class.ts";
import { hashSecret } from "#worker/secret.ts";
import { applyEvent } from "#scheduler/reap-events.ts";
import { ScriptedProvider } from "../fake/provider.ts";
import { createWorld, spec, startFailure } from "./world.ts";

const plain = classKeyOf(classOf(spec));

describe("provisioning", () => {
  test("a queued job gets a worker, and its history says how", async () => {
    const world = await createWorld();
    const id = await world.submit();
    await world.provision();
    const [worker] = await world.store.listLiveWorkers();
    expect(worker).toMatchObject({ state: "starting", forJob: id, resourceUid: "scripted-1" });
    expect(worker?.resourceName).toBe(`hodei-${worker?.id}`);
    const stages = (await world.messages(id)).map((line) => line.split(":")[0]);
    expect(stages).toEqual(["queued", "selecting", "creating", "connecting"]);
  });

  test("a second round plans nothing for the same job", async () => {
    const world = await createWorld();
    await world.submit();
    await world.provision();
    await world.provision();
    expect(world.provider.started).toHaveLength(1);
  });

  test("the token is good until a while after the start deadline, and only its hash is stored", async () => {
    const world = await createWorld();
    await world.submit();
    await world.provision();
    const [started] = world.provider.started;
    const workers = await world.store.listLiveWorkers();
    expect(JSON.stringify(workers)).not.toContain(started?.otp);
    world.pass(world.parts.limits.startDeadlineMs + world.parts.limits.otpSlackMs);
    await expect(world.redeem()).resolves.toBe(workers[0]?.id);
  });

  test("starts are bounded, and the rest follows", async () => {
    const provider = new ScriptedProvider({ maxWorkers: 100 });
    const world = await createWorld({ providers: [provider] });
    const limit = world.parts.limits.maxConcurrentStarts;
    for (let at = 0; at < limit + 4; at++) {
      await world.submit();
      provider.starts.push({ kind: "hang" });
    }
    await world.rounds.provision.round();
    await world.rounds.provision.round();
    expect(provider.started).toHaveLength(limit);
    provider.release();
    await world.rounds.provision.settled();
    provider.starts.length = 0;
    await world.provision();
    expect(provider.started).toHaveLength(limit + 4);
  });

  test("a start that failed is told to the job, and tried again after a pause that grows", async () => {
    const world = await createWorld();
    const { provider, parts } = world;
    const id = await world.submit();
    provider.starts.push(
      { kind: "fail", failure: startFailure },
      { kind: "fail", failure: startFailure },
    );
    await world.provision();
    expect(await world.messages(id)).toContain("creating: the quota is used up");
    expect(await world.job(id)).toMatchObject({ state: "queued", infraRetries: 1 });
    await world.provision();
    expect(provider.started).toHaveLength(1);
    world.pass(parts.limits.startBackoffMs / 2);
    await world.provision();
    expect(provider.started).toHaveLength(2);
    world.pass(parts.limits.startBackoffMs / 2);
    await world.provision();
    expect(provider.started).toHaveLength(2);
    world.pass(parts.limits.startBackoffMs / 2);
    await world.provision();
    expect(provider.started).toHaveLength(3);
    expect(provider.resources.size).toBe(1);
  });

  test("a failed start goes to the next provider while the first one pauses", async () => {
    const [one, two] = [
      new ScriptedProvider({ name: "one" }),
      new ScriptedProvider({ name: "two" }),
    ];
    const world = await createWorld({ providers: [one, two] });
    await world.submit();
    one.starts.push({ kind: "fail", failure: startFailure });
    await world.provision();
    await world.provision();
    expect([one.started.length, two.started.length]).toEqual([1, 1]);
  });

  test("a start that fails through the user's fault ends the job at once", async () => {
    const world = await createWorld();
    const id = await world.submit();
    const failure = { ...startFailure, blame: "user" as const, message: "there is no such image" };
    world.provider.starts.push({ kind: "fail", failure });
    await world.provision();
    expect(await world.job(id)).toMatchObject({ state: "failed", failure });
  });

  test("a job is given up when its infrastructure retries are used up, with the last evidence", async () => {
    const world = await createWorld({ maxInfraRetries: 2 });
    const id = await world.submit();
    for (let at = 0; at < 3; at++) {
      world.provider.starts.push({ kind: "fail", failure: startFailure });
      await world.provision();
      world.pass(world.parts.limits.maxStartBackoffMs);
    }
    expect(await world.job(id)).toMatchObject({
      state: "failed",
      failure: {
        cause: "too_many_retries",
        evidence: { status: "403", last_cause: "start_failed" },
      },
    });
  });

  test.for(["lost", "unknown"] as const)(
    "G12: a start with an unknown outcome (%s) is cleaned up, and another worker started",
    async (kind) => {
      const world = await createWorld();
      const id = await world.submit();
      world.provider.starts.push({ kind });
      await world.provision();
      const [worker] = await world.store.listLiveWorkers();
      expect(worker?.state).toBe("stopping");
      await world.reap();
      expect(world.provider.resources.size).toBe(0);
      expect(await world.job(id)).toMatchObject({ state: "queued", infraRetries: 1 });
      world.pass(world.parts.limits.startBackoffMs);
      await world.provision();
      expect(world.provider.resources.size).toBe(1);
      expect(world.provider.resources.has(worker?.id as never)).toBe(false);
    },
  );

  test("G12: a start that a crash interrupted is never resumed", async () => {
    const first = await createWorld();
    const id = await first.submit();
    first.provider.starts.push({ kind: "hang" });
    await first.rounds.provision.round();
    const [interrupted] = await first.store.listLiveWorkers();
    expect(interrupted?.state).toBe("planned");

    const next = await createWorld({ store: first.store, providers: [first.provider] });
    await next.rounds.reap.repair();
    await next.reap();
    expect(await next.store.listLiveWorkers()).toEqual([]);
    expect(await next.job(id)).toMatchObject({ state: "queued", infraRetries: 1 });
    next.pass(next.parts.limits.startBackoffMs);
    await next.provision();
    const [fresh] = await next.store.listLiveWorkers();
    expect(fresh?.id).not.toBe(interrupted?.id);
    await first.rounds[Symbol.asyncDispose]();
  });

  test("a warm pool is filled before anybody asks, and refilled", async () => {
    const world = await createWorld({
      warm: [{ classKey: plain, provider: undefined, tenant: undefined, count: 2 }],
    });
    await world.provision();
    expect(world.provider.started).toHaveLength(2);
    const worker = await world.redeem();
    await world.submit();
    await world.provision();
    expect(world.provider.started).toHaveLength(3);
    expect(await world.claim(worker)).toHaveLength(1);
    await world.provision();
    expect(world.provider.started).toHaveLength(3);
  });

  test("a worker whose job was cancelled is drained after the idle timeout", async () => {
    const world = await createWorld({ reuse: { idleTimeoutMs: 1_000 } });
    const id = await world.submit();
    await world.provision();
    const worker = await world.redeem();
    const cancel = { reason: "", actor: "", deadline: 0, expiresAt: world.clock.wall + 1_000_000 };
    await world.store.cancelJob(id, cancel, world.clock.wall);
    await world.provision();
    expect((await world.store.findWorker(worker))?.state).toBe("ready");
    world.pass(1_000);
    await world.provision();
    expect((await world.store.findWorker(worker))?.state).toBe("draining");
    expect(world.attempts.told).toEqual([`drain ${worker}`]);
  });

  test("a worker that is starting for nobody is stopped after the idle timeout, and nobody is blamed", async () => {
    const world = await createWorld({ reuse: { idleTimeoutMs: 1_000 } });
    const id = await world.submit();
    await world.provision();
    const cancel = { reason: "", actor: "", deadline: 0, expiresAt: world.clock.wall + 1_000_000 };
    await world.store.cancelJob(id, cancel, world.clock.wall);
    await world.provision();
    world.pass(1_000);
    await world.provision();
    await world.reap();
    expect(world.provider.resources.size).toBe(0);
    expect(world.parts.providers.view()[0]?.pauses.size).toBe(0);
  });

  test("jobs that no provider can run are told why, once per change", async () => {
    const world = await createWorld();
    world.provider.refusal = "has no images";
    const id = await world.submit();
    for (let at = 0; at < 3; at++) {
      await world.provision();
      world.pass(10_000);
    }
    const told = async () =>
      (await world.messages(id)).filter((line) => line.startsWith("selecting"));
    expect(await told()).toEqual(["selecting: no provider can run it: scripted: has no images"]);
    const late = await world.submit();
    await world.provision();
    expect(await world.messages(late)).toHaveLength(2);
    world.provider.refusal = "is closed";
    await world.provision();
    expect(await told()).toHaveLength(2);
  });

  test("jobs are not told again because there was no room for other starts", async () => {
    const provider = new ScriptedProvider({ maxWorkers: 100 });
    const world = await createWorld({ providers: [provider] });
    const id = await world.submit({ provider: { ...noPreference, name: "none", isStrict: true } });
    await world.provision();
    for (let at = 0; at < world.parts.limits.maxConcurrentStarts; at++) {
      await world.submit();
      world.provider.starts.push({ kind: "hang" });
    }
    for (let at = 0; at < 3; at++) {
      await world.rounds.provision.round();
      world.pass(10_000);
    }
    expect(await world.messages(id)).toHaveLength(2);
    world.provider.release();
    await world.rounds.provision.settled();
  });

  test("an unhealthy provider gets nothing new", async () => {
    const world = await createWorld();
    world.provider.state = { state: "unhealthy", reason: "no disk" };
    await world.parts.providers.refresh();
    await world.submit();
    await world.provision();
    expect(world.provider.started).toEqual([]);
    world.provider.state = { state: "degraded", reason: "slow" };
    await world.parts.providers.refresh();
    await world.provision();
    expect(world.provider.started).toHaveLength(1);
  });

  test("a provider's word reaches the job that waits", async () => {
    const world = await createWorld();
    const id = await world.submit();
    await world.provision();
    const [worker] = await world.store.listLiveWorkers();
    if (worker === undefined) throw new Error("no worker");
    const { parts, rounds } = world;
    const workerId = worker.id;
    await applyEvent(parts, rounds.events, {
      kind: "stage",
      workerId,
      stage: "pulling",
      message: "pulls the image",
    });
    expect(await world.messages(id)).toContain("pulling: pulls the image");
  });

  test("two workers never share a token", async () => {
    const world = await createWorld();
    await world.submit();
    await world.submit();
    await world.provision();
    const [one, two] = world.provider.started;
    expect(hashSecret(one?.otp ?? "")).not.toEqual(hashSecret(two?.otp ?? ""));
  });
});
