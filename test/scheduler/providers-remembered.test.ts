import { describe, expect, test, vi } from "vitest";
import { createProviders } from "#scheduler/providers.ts";
import { createMemory } from "#scheduler/providers-remembered.ts";
import { defaultLimits } from "#scheduler/start-options.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import type { Store } from "#store/store.ts";
import { createLogger } from "#telemetry.ts";
import { newProvider } from "../conformance/store/provider-facts.ts";
import { ScriptedProvider } from "../fake/provider.ts";
import { plain, worker } from "./snapshot.ts";
import { startFailure } from "./world.ts";

const minute = 60_000;

/** What one server knows of a provider, over a store that it may share with others. */
async function serve(store: Store, now = 1_000_000) {
  const clock = { now };
  const saves: number[] = [];
  const lines: unknown[] = [];
  const provider = new ScriptedProvider({ name: "one", startEstimateMs: 100 });
  const options = { now: () => clock.now, random: () => 0.5 };
  const known = createProviders({ ...options, providers: [provider], limits: defaultLimits });
  const memory = createMemory({
    ...options,
    store: {
      listProviderStates: () => store.listProviderStates(),
      saveProviderStates: async (states) => {
        saves.push(states.length);
        await store.saveProviderStates(states);
      },
    },
    providers: known,
    log: createLogger("info", { write: (line: string) => void lines.push(JSON.parse(line)) }),
  });
  let starts = 0;
  const fail = (count: number): void => {
    for (let at = 0; at < count; at++) {
      const { id } = worker(++starts);
      const plannedAt = clock.now;
      known.startFailed({ id, provider: "one", classKey: plain, plannedAt }, startFailure);
    }
  };
  /** A worker that took so long to call back has done a job. */
  const succeed = (startMs: number): void => {
    const plannedAt = clock.now - startMs;
    known.learnEnd(worker(++starts, { plannedAt, readyAt: clock.now, attempts: 1 }));
  };
  const status = () => known.status([])[0];
  return { provider, known, memory, clock, saves, lines, fail, succeed, status };
}

async function openStore(): Promise<Store> {
  const store = openMemoryStore();
  await store.addProvider(newProvider("one"), 0);
  return store;
}

describe("what is known of a provider", () => {
  test("is known to the next server, and to one that only looks", async () => {
    const store = await openStore();
    const first = await serve(store);
    await first.known.refresh();
    first.succeed(9_000);
    first.fail(defaultLimits.circuitFailures);
    await first.memory.save();

    const next = await serve(store, first.clock.now + 1_000);
    expect(next.status()).toMatchObject({ health: "unhealthy", circuit: "closed" });
    await next.memory.recall();
    expect(next.status()).toMatchObject({
      health: "healthy",
      circuit: "open",
      circuitReason: first.status()?.circuitReason,
    });
    expect(next.known.view()[0]?.circuit).toEqual(first.known.view()[0]?.circuit);
    const [own, before] = [next.status()?.startEstimateMs, first.status()?.startEstimateMs];
    expect(before).toBeGreaterThan(2_000);
    expect(own).toBeGreaterThan(0.95 * (before ?? 0));
    expect(next.status()?.healthScore).toBeCloseTo(first.status()?.healthScore ?? 0, 2);

    // Whoever asks the providers goes on, and whoever looks sees it.
    first.clock.now += 100 * minute;
    first.known.view();
    await first.memory.save();
    await next.memory.recall();
    expect(next.status()?.circuit).toBe("half_open");
  });

  test("counts a worker's start once, however many servers see the worker", async () => {
    const store = await openStore();
    const first = await serve(store);
    await first.known.refresh();
    const [early, late] = [1_000, 2_000].map((at) => {
      const readyAt = first.clock.now + at;
      return worker(at, { provider: "one", plannedAt: readyAt - 9_000, readyAt });
    });
    if (early === undefined || late === undefined) throw new Error("no workers");
    first.clock.now += 1_000;
    first.known.learn([early]);
    await first.memory.save();
    const learned = first.status()?.startEstimateMs ?? 0;
    const next = await serve(store, first.clock.now);
    await next.memory.recall();
    next.known.learn([early]);
    expect(next.status()?.startEstimateMs).toBe(learned);
    next.known.learn([early, late]);
    expect(next.status()?.startEstimateMs).toBeGreaterThan(learned);
  });

  test("fades while no server runs", async () => {
    const store = await openStore();
    const first = await serve(store);
    await first.known.refresh();
    first.succeed(29_000);
    first.fail(defaultLimits.circuitFailures - 1);
    await first.memory.save();
    const next = await serve(store, first.clock.now + 100 * minute);
    await next.memory.recall();
    expect(next.status()?.startEstimateMs).toBe(100);
    next.fail(1);
    expect(next.status()?.circuit).toBe("closed");
  });

  test("keeps its failures in a row over a short pause", async () => {
    const store = await openStore();
    const first = await serve(store);
    await first.known.refresh();
    first.fail(defaultLimits.circuitFailures - 1);
    await first.memory.save();
    const next = await serve(store, first.clock.now + minute);
    await next.memory.recall();
    next.fail(1);
    expect(next.status()?.circuit).toBe("open");
  });

  test("is saved when it has changed, and answers to checks alone once a minute", async () => {
    const { known, memory, saves, clock, succeed } = await serve(await openStore());
    await memory.save();
    expect(saves).toEqual([]);
    await known.refresh();
    await memory.save();
    expect(saves).toEqual([1]);
    for (let at = 0; at < 3; at++) {
      clock.now += 5_000;
      await known.refresh();
      await memory.save();
    }
    expect(saves).toEqual([1]);
    succeed(500);
    await memory.save();
    await memory.save();
    expect(saves).toEqual([1, 1]);
    clock.now += minute;
    await memory.save();
    expect(saves).toEqual([1, 1, 1]);
  });

  test("is saved again when it could not be", async () => {
    const store = await openStore();
    const { known, memory, saves } = await serve(store);
    await known.refresh();
    const full = vi.spyOn(store, "saveProviderStates");
    full.mockRejectedValueOnce(new Error("the disk is full"));
    await expect(memory.save()).rejects.toThrow("the disk is full");
    await memory.save();
    expect(saves).toEqual([1, 1]);
    expect(await store.listProviderStates()).toHaveLength(1);
  });

  test.for(["", "{", "[]", '{"format": 2}', '{"format": 1, "circuit": {}}'])(
    "begins anew when what was saved is %j, and says so",
    async (data) => {
      const store = await openStore();
      await store.saveProviderStates([{ provider: "one", at: 0, data }]);
      const { memory, lines, status } = await serve(store);
      await memory.recall();
      expect(status()).toMatchObject({ health: "unhealthy", circuit: "closed" });
      expect(lines).toMatchObject([{ provider: "one" }]);
    },
  );

  test("says nothing of a provider that this server does not have", async () => {
    const store = await openStore();
    await store.addProvider(newProvider("other"), 0);
    const first = await serve(store);
    await first.known.refresh();
    await first.memory.save();
    const [state] = await store.listProviderStates();
    await store.saveProviderStates([{ provider: "other", at: 0, data: state?.data ?? "" }]);
    const next = await serve(store);
    await next.memory.recall();
    expect(next.known.status([])).toHaveLength(1);
  });
});
