import { describe, expect, test, vi } from "vitest";
import { ScriptedProvider } from "../fake/provider.ts";
import { createWorld } from "./world.ts";

describe("workers for one job", () => {
  test("where workers are for one job, the resource gets the job's labels and times, and the tenant", async () => {
    const provider = new ScriptedProvider({ bindsJob: true, bindsTenant: true });
    const world = await createWorld({ providers: [provider] });
    const labels = { team: "blue" };
    const annotations = { note: "hello" };
    const id = await world.submit({ labels, annotations, executionTimeoutMs: 5_000_000 });
    await world.provision();
    const [started] = provider.started;
    expect(started).toMatchObject({ labels, annotations, tenant: "a" });
    expect(started?.maxLifetimeMs).toBeGreaterThan(5_000_000);
    const workers = await world.store.listLiveWorkers();
    expect(workers).toMatchObject([{ forJob: id, isForJobOnly: true, tenant: "a" }]);
  });

  test("a worker that is given its own job while a round looks at it is left alone", async () => {
    const provider = new ScriptedProvider({ bindsJob: true });
    const world = await createWorld({ providers: [provider] });
    await world.submit();
    await world.provision();
    const worker = await world.redeem();
    const stale = await world.store.listLiveWorkers();
    await world.claim(worker);
    vi.spyOn(world.store, "listLiveWorkers").mockResolvedValueOnce(stale);
    await world.reap();
    expect(await world.store.findWorker(worker)).toMatchObject({ state: "ready" });
  });

  test("a start whose own job was cancelled is given up at once", async () => {
    const provider = new ScriptedProvider({ bindsJob: true });
    const world = await createWorld({ providers: [provider] });
    const id = await world.submit();
    await world.provision();
    const cancel = { reason: "", actor: "ada", deadline: 0, expiresAt: Infinity };
    await world.store.cancelJob(id, cancel, world.parts.now());
    await world.reap();
    await world.reap();
    expect(await world.store.listLiveWorkers()).toEqual([]);
    expect(provider.resources.size).toBe(0);
  });

  test("a worker whose own job was cancelled is stopped", async () => {
    const provider = new ScriptedProvider({ bindsJob: true });
    const world = await createWorld({ providers: [provider] });
    const id = await world.submit();
    await world.provision();
    const worker = await world.redeem();
    await world.reap();
    expect(await world.store.findWorker(worker)).toMatchObject({ state: "ready" });
    const cancel = { reason: "", actor: "ada", deadline: 0, expiresAt: Infinity };
    await world.store.cancelJob(id, cancel, world.parts.now());
    await world.reap();
    await world.reap();
    expect(await world.store.findWorker(worker)).toMatchObject({ state: "ended" });
  });
});
