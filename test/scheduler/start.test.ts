import { describe, expect, test, vi } from "vitest";
import type { LogStore } from "#logstore/logstore.ts";
import { defaultSettings, type ProviderChange } from "#scheduler/scheduler.ts";
import type { ReplicaSelf } from "#scheduler/lead.ts";
import { startScheduler } from "#scheduler/start.ts";
import { defaultLimits, defaultReuse } from "#scheduler/start-options.ts";
import type { WorkerSpec } from "#provider/provider.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import type { ReplicaStore } from "#store/replica-store.ts";
import { createLogger } from "#telemetry.ts";
import { classKeyOf, classOf } from "#worker/class.ts";
import { newProvider } from "../conformance/store/provider-facts.ts";
import { ScriptedProvider } from "../fake/provider.ts";
import { spec, startFailure } from "./world.ts";

const logStore: LogStore = {
  append: async () => undefined,
  findLog: async () => undefined,
  end: async () => undefined,
  read: async function* () {},
  expire: async () => 0,
  stats: () => ({ openLogs: 0, storedBytes: 0, isWritable: true }),
  [Symbol.asyncDispose]: async () => undefined,
};

async function start(
  provider: ScriptedProvider,
  given: {
    readonly store?: ReturnType<typeof openMemoryStore>;
    readonly others?: readonly ScriptedProvider[];
    readonly onProviderEvent?: (change: ProviderChange) => void;
    readonly replica?: ReplicaSelf;
  } = {},
) {
  const { store = openMemoryStore(), others = [], ...more } = given;
  const scheduler = await startScheduler({
    store,
    logStore,
    providers: [provider, ...others],
    ...more,
    readSpec: () => spec,
    serverAddress: () => "127.0.0.1:1",
    log: createLogger("silent"),
    limits: {
      ...defaultLimits,
      reapIntervalMs: 10,
      provisionIntervalMs: 50,
      healthIntervalMs: 20,
      rememberIntervalMs: 20,
      startBackoffMs: 1,
    },
    reuse: defaultReuse,
    warm: [],
  });
  const submit = async () => {
    const classKey = classKeyOf(classOf(spec));
    const stored = store.submitJobs(
      [
        {
          tenant: "a",
          spec: new Uint8Array(),
          name: "",
          labels: {},
          classKey,
          priority: 0,
          deadline: Date.now() + 3_600_000,
          correlationId: "",
          actor: "test",
          idempotency: undefined,
          maxQueued: 1_000,
        },
      ],
      Date.now(),
    );
    scheduler.jobsArrived(new Set([classKey]));
    const [outcome] = await stored;
    if (outcome?.kind !== "accepted") throw new Error("not accepted");
    return outcome.id;
  };
  return { store, scheduler, submit };
}

test("a job that arrives wakes the loops, and gets a worker", async () => {
  const provider = new ScriptedProvider();
  const { store, scheduler, submit } = await start(provider);
  await using _ = scheduler;
  const id = await submit();
  await vi.waitFor(async () => {
    expect(await store.listLiveWorkers()).toMatchObject([{ state: "starting", forJob: id }]);
  });
  const [status] = await scheduler.listProviders();
  expect(status).toMatchObject({ health: "healthy", workers: 1, maxWorkers: 10 });
  expect(status?.capabilities).toContain("survivesRestart");
});

test("a queued job that is cancelled is over at once", async () => {
  const provider = new ScriptedProvider({ maxWorkers: 0 });
  const { scheduler, submit } = await start(provider);
  await using _ = scheduler;
  const id = await submit();
  const job = await scheduler.cancelJob(id, { reason: "no need", actor: "me" });
  expect(job.state).toBe("cancelled");
  await expect(scheduler.cancelJob(id, { reason: "", actor: "" })).rejects.toMatchObject({
    code: "failed_precondition",
  });
});

test.for(["drainWorker", "terminateWorker"] as const)(
  "%s of a worker that is starting removes it",
  async (verb) => {
    const provider = new ScriptedProvider();
    const { store, scheduler, submit } = await start(provider);
    await using _ = scheduler;
    await submit();
    await vi.waitFor(async () => expect(provider.resources.size).toBe(1));
    const [worker] = await store.listLiveWorkers();
    if (worker === undefined) throw new Error("no worker");
    await scheduler[verb](worker.id, "not wanted");
    await vi.waitFor(async () => {
      expect((await store.findWorker(worker.id))?.state).toBe("ended");
    });
  },
);

test("stopping leaves starts that hang to the next server", async () => {
  const provider = new ScriptedProvider();
  provider.starts.push({ kind: "hang" });
  const { store, scheduler, submit } = await start(provider);
  await submit();
  await vi.waitFor(() => expect(provider.started).toHaveLength(1));
  await scheduler[Symbol.asyncDispose]();
  expect(await store.listLiveWorkers()).toMatchObject([{ state: "planned" }]);
});

describe("providers that come and go", () => {
  test("one that is added is used at once, and followed", async () => {
    const full = new ScriptedProvider({ maxWorkers: 0 });
    const { store, scheduler, submit } = await start(full);
    await using _ = scheduler;
    await submit();
    const late = new ScriptedProvider({ name: "late" });
    await scheduler.addProvider(late, { ...defaultSettings, id: "p-2", priority: 1 });
    await vi.waitFor(() => expect(late.started).toHaveLength(1));
    const [worker] = await store.listLiveWorkers();
    if (worker === undefined) throw new Error("no worker");
    late.kill(worker.id);
    late.emit({ kind: "gone", workerId: worker.id, failure: undefined });
    await vi.waitFor(async () => {
      expect((await store.findWorker(worker.id))?.state).toBe("ended");
    });
    expect(await scheduler.listProviders()).toMatchObject([
      { id: "scripted", name: "scripted" },
      { id: "p-2", name: "late", health: "healthy", priority: 1, circuit: "closed" },
    ]);
    await expect(scheduler.addProvider(late, defaultSettings)).rejects.toMatchObject({
      code: "already_exists",
    });
  });

  test("one that is disabled keeps what it runs and is given nothing", async () => {
    const provider = new ScriptedProvider();
    const changes: ProviderChange[] = [];
    const onProviderEvent = (change: ProviderChange) => void changes.push(change);
    const { scheduler, submit } = await start(provider, { onProviderEvent });
    await using _ = scheduler;
    await submit();
    await vi.waitFor(() => expect(provider.resources.size).toBe(1));
    scheduler.changeProvider("scripted", { ...defaultSettings, isEnabled: false });
    await submit();
    const other = new ScriptedProvider({ name: "other" });
    await scheduler.addProvider(other, defaultSettings);
    await vi.waitFor(() => expect(other.started).toHaveLength(1));
    expect(provider.started).toHaveLength(1);
    expect(provider.resources.size).toBe(1);
    expect(changes).toMatchObject([{ kind: "enabled", from: "enabled", to: "disabled" }]);
  });

  test("one that has workers is not removed; one that has none is used no more", async () => {
    const provider = new ScriptedProvider();
    const { store, scheduler, submit } = await start(provider);
    await using _ = scheduler;
    await submit();
    await vi.waitFor(() => expect(provider.resources.size).toBe(1));
    await expect(scheduler.removeProvider("scripted")).rejects.toMatchObject({
      code: "failed_precondition",
    });
    expect(await scheduler.listProviders()).toMatchObject([{ isEnabled: true }]);
    scheduler.changeProvider("scripted", { ...defaultSettings, isEnabled: false });
    const [worker] = await store.listLiveWorkers();
    if (worker === undefined) throw new Error("no worker");
    await scheduler.terminateWorker(worker.id, "not wanted");
    await vi.waitFor(async () => expect(await store.listLiveWorkers()).toEqual([]));
    await scheduler.removeProvider("scripted");
    expect(await scheduler.listProviders()).toEqual([]);
    await expect(scheduler.removeProvider("scripted")).rejects.toMatchObject({ code: "not_found" });
  });
});

test("a provider that fails is left by the next server too", async () => {
  const provider = new ScriptedProvider();
  const failures = defaultLimits.circuitFailures;
  for (let at = 0; at < failures; at++) {
    provider.starts.push({ kind: "fail", failure: startFailure });
  }
  const store = openMemoryStore();
  await store.addProvider(newProvider("scripted"), 0);
  const first = await start(provider, { store });
  await first.submit();
  await vi.waitFor(async () => {
    expect(await first.scheduler.listProviders()).toMatchObject([{ circuit: "open" }]);
  });
  await first.scheduler[Symbol.asyncDispose]();
  const next = await start(provider, { store });
  await using _ = next.scheduler;
  const [status] = await next.scheduler.listProviders();
  expect(status).toMatchObject({ health: "healthy", circuit: "open" });
  await next.submit();
  expect(provider.resources.size).toBe(0);
});

test("a replica that does not lead shows what the leader knows of a provider, and asks it nothing", async () => {
  const store = openMemoryStore();
  await store.addProvider(newProvider("scripted"), 0);
  const own = new ScriptedProvider();
  const replicas = new Proxy({} as ReplicaStore, {
    get: (_, name) => async () =>
      ({ beat: [], lead: { term: 1, leader: "another" } })[name as "beat" | "lead"],
  });
  const replica = { id: "me", address: () => "", startedAt: 0, leaseMs: 30_000 };
  const follower = await start(own, { store: { ...store, replicas }, replica });
  await using follows = follower.scheduler;
  expect(follows.isLeading).toBe(false);
  const isAsked = vi.spyOn(own, "health");

  const provider = new ScriptedProvider();
  for (let at = 0; at < defaultLimits.circuitFailures; at++) {
    provider.starts.push({ kind: "fail", failure: startFailure });
  }
  const leader = await start(provider, { store });
  await using _ = leader.scheduler;
  await leader.submit();
  await vi.waitFor(async () => {
    expect(await follows.listProviders()).toMatchObject([{ health: "healthy", circuit: "open" }]);
  });
  expect(isAsked).not.toHaveBeenCalled();
});

/** Writes down the most workers that it ever had. */
class CountingProvider extends ScriptedProvider {
  most = 0;

  override async startWorker(spec: WorkerSpec, signal: AbortSignal) {
    try {
      return await super.startWorker(spec, signal);
    } finally {
      this.most = Math.max(this.most, this.resources.size);
    }
  }
}

test("200 jobs that come at once never have more workers than a provider takes, nor after a restart or when workers die", async () => {
  const limits = [3, 7, 11];
  const all = limits.map((maxWorkers, at) => new CountingProvider({ name: `p${at}`, maxWorkers }));
  const [first, ...others] = all;
  if (first === undefined) throw new Error("no provider");
  for (const { starts } of all) {
    starts.push({ kind: "lost" }, { kind: "fail", failure: startFailure }, { kind: "unknown" });
  }
  const store = openMemoryStore();
  const before = await start(first, { store, others });
  const { submit } = before;
  await Promise.all(Array.from({ length: 200 }, () => submit()));
  const areFull = () => expect(all.map(({ resources }) => resources.size)).toEqual(limits);
  await vi.waitFor(areFull, { timeout: 10_000 });
  await before.scheduler[Symbol.asyncDispose]();
  const after = await start(first, { store, others });
  await using _ = after.scheduler;
  for (let round = 0; round < 5; round++) {
    for (const provider of all) {
      const [id] = provider.resources.keys();
      if (id === undefined) continue;
      provider.kill(id);
      provider.emit({ kind: "gone", workerId: id, failure: { ...startFailure, blame: "policy" } });
    }
    await after.submit();
    await vi.waitFor(areFull, { timeout: 10_000 });
  }
  expect(all.map(({ most }) => most)).toEqual(limits);
});
