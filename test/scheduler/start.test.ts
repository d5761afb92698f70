import { expect, test, vi } from "vitest";
import type { LogStore } from "#logstore/logstore.ts";
import { startScheduler } from "#scheduler/start.ts";
import { defaultLimits, defaultReuse } from "#scheduler/start-options.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import { createLogger } from "#telemetry.ts";
import { classKeyOf, classOf } from "#worker/class.ts";
import { ScriptedProvider } from "../fake/provider.ts";
import { spec } from "./world.ts";

const logStore: LogStore = {
  append: async () => undefined,
  findLog: async () => undefined,
  end: async () => undefined,
  read: async function* () {},
  expire: async () => 0,
  stats: () => ({ openLogs: 0, storedBytes: 0, isWritable: true }),
  [Symbol.asyncDispose]: async () => undefined,
};

async function start(provider: ScriptedProvider) {
  const store = openMemoryStore();
  const scheduler = await startScheduler({
    store,
    logStore,
    providers: [provider],
    readSpec: () => spec,
    serverAddress: () => "127.0.0.1:1",
    log: createLogger("silent"),
    limits: { ...defaultLimits, reapIntervalMs: 10 },
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
          maxQueued: 10,
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
