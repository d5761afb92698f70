import { describe, expect, test } from "vitest";
import { createProviders } from "#scheduler/providers.ts";
import { defaultSettings, type ProviderChange } from "#scheduler/scheduler.ts";
import { defaultLimits, type SchedulerMetrics } from "#scheduler/start-options.ts";
import { ScriptedProvider } from "../fake/provider.ts";
import { parseClassKey as parse } from "#worker/class.ts";
import { plain, resources, worker } from "./snapshot.ts";
import { startFailure } from "./world.ts";

function create(...providers: readonly ScriptedProvider[]) {
  const changes: ProviderChange[] = [];
  const gauges = new Map<string, number>();
  const checks: boolean[] = [];
  const metrics: Partial<SchedulerMetrics> = {
    providerCircuit: (name, state) => void gauges.set(`circuit ${name}`, state),
    providerHealth: (name, score) => void gauges.set(`health ${name}`, score),
    healthChecked: (_, { isError }) => void checks.push(isError),
    providerGone: (name) => void gauges.set(`gone ${name}`, 1),
  };
  const clock = { now: 1_000_000 };
  const known = createProviders({
    providers,
    limits: defaultLimits,
    now: () => clock.now,
    random: () => 0.5,
    metrics: metrics as SchedulerMetrics,
    onChange: (change) => void changes.push(change),
  });
  let failures = 0;
  const fail = (count: number, provider = "one"): void => {
    for (let at = 0; at < count; at++) {
      const start = {
        id: worker(1_000 + ++failures).id,
        provider,
        classKey: plain,
        plannedAt: clock.now,
      };
      known.startFailed(start, startFailure);
    }
  };
  return { known, changes, gauges, checks, clock, fail };
}

const one = () => new ScriptedProvider({ name: "one", pricePerHour: 7, startEstimateMs: 100 });

describe("settings", () => {
  test("say what the provider itself does not", () => {
    const { known } = create(one());
    known.change("one", {
      ...defaultSettings,
      id: "p-1",
      maxWorkers: 3,
      labels: { disk: "ssd" },
      region: "north",
      architectures: ["arm64"],
      runtimes: ["python"],
      maxHours: 6,
      pricePerHour: { cpuCore: 2, memoryGib: 1, gpu: 100 },
    });
    const [view] = known.view();
    expect(view).toMatchObject({
      id: "p-1",
      name: "one",
      maxWorkers: 3,
      labels: { disk: "ssd" },
      region: "north",
      architectures: ["arm64"],
      runtimes: ["python"],
      maxHours: 6,
    });
    const asked = { ...resources, cpuMillis: 500, memoryBytes: 2 ** 31, gpuCount: 1 };
    expect(view?.pricePerHour(asked)).toBe(103);
  });

  test("leave to the provider what they do not say", () => {
    const { known } = create(one());
    const [view] = known.view();
    expect(view).toMatchObject({ id: "one", isEnabled: true, maxWorkers: 10 });
    expect(view?.pricePerHour(resources)).toBe(7);
  });

  test("never give a provider more room than it has", () => {
    const { known } = create(one());
    known.change("one", { ...defaultSettings, maxWorkers: 1_000 });
    expect(known.view()[0]?.maxWorkers).toBe(10);
  });

  test("put higher priorities first, and keep the order of what is equal", () => {
    const names = ["one", "two", "three"];
    const { known } = create(...names.map((name) => new ScriptedProvider({ name })));
    known.change("three", { ...defaultSettings, priority: 5 });
    expect(known.view().map(({ name }) => name)).toEqual(["three", "one", "two"]);
  });

  test("decide how long a start may take, for GPUs longer than for others", () => {
    const { known } = create(one());
    const small = { ...parse(plain) };
    const large = { ...small, resources: { ...resources, gpuCount: 1 } };
    expect(known.startDeadlineMs("one", small)).toBe(defaultLimits.startDeadlineMs);
    expect(known.startDeadlineMs("one", large)).toBe(defaultLimits.gpuStartDeadlineMs);
    known.change("one", { ...defaultSettings, startDeadlineMs: 5 });
    expect(known.startDeadlineMs("one", large)).toBe(5);
  });

  test("that enable or disable are told", () => {
    const { known, changes } = create(one());
    known.change("one", { ...defaultSettings, isEnabled: false });
    expect(changes).toMatchObject([
      { provider: "one", kind: "enabled", from: "enabled", to: "disabled" },
    ]);
  });
});

describe("the circuit of a provider", () => {
  test("opens after failures in a row, probes, and closes again", async () => {
    const { known, changes, gauges, clock, fail } = create(one());
    await known.refresh();
    fail(5);
    expect(known.view()[0]?.circuit.state).toBe("open");
    expect(gauges.get("circuit one")).toBe(2);
    clock.now += 60_000;
    expect(known.view()[0]?.circuit.state).toBe("half_open");
    const probes = [1, 2, 3].map((number) =>
      worker(100 + number, { attempts: 1, plannedAt: clock.now, readyAt: clock.now }),
    );
    known.learn(probes);
    // The same workers say nothing new.
    known.learn(probes);
    expect(known.view()[0]?.circuit.state).toBe("closed");
    expect(gauges.get("circuit one")).toBe(0);
    expect(changes.map(({ from, to }) => `${from} ${to}`)).toEqual([
      "closed open",
      "open half_open",
      "half_open closed",
    ]);
  });

  test.for(["user", "quota", "policy", "system"] as const)(
    "is indifferent to what is the fault of: %s",
    (blame) => {
      const { known } = create(one());
      for (let at = 1; at < 20; at++) known.startFailed(worker(at), { ...startFailure, blame });
      const [view] = known.view();
      expect(view?.circuit.state).toBe("closed");
      expect(view?.pauses.size).toBe(1);
    },
  );

  test("opens when the provider is unhealthy, and probes when it is well", async () => {
    const provider = one();
    const { known, changes, checks } = create(provider);
    await known.refresh();
    provider.state = { state: "unhealthy", reason: "the engine is gone" };
    await known.refresh();
    expect(known.view()[0]).toMatchObject({ health: "unhealthy", circuit: { state: "open" } });
    provider.state = { state: "healthy", reason: "" };
    await known.refresh();
    expect(known.view()[0]?.circuit.state).toBe("half_open");
    expect(checks).toEqual([false, true, false]);
    expect(changes.filter(({ kind }) => kind === "health")).toMatchObject([
      { from: "healthy", to: "unhealthy", reason: "the engine is gone" },
      { from: "unhealthy", to: "healthy" },
    ]);
  });

  test("a worker that calls back and dies before it had work is no success", () => {
    const { known, clock, fail } = create(one());
    fail(4);
    known.learn([worker(50, { plannedAt: clock.now, readyAt: clock.now })]);
    fail(1);
    expect(known.view()[0]?.circuit.state).toBe("open");
  });
});

test("a worker that has waited for a while and then dies is no failed start", () => {
  const { known, clock } = create(one());
  const warm = worker(1, { plannedAt: clock.now - 90_000, readyAt: clock.now - 80_000 });
  known.learn([warm]);
  known.startFailed(warm, startFailure);
  expect(known.view()[0]).toMatchObject({ pauses: new Map(), circuit: { failures: 0 } });
});

test("start-up times are learned, once for each worker", () => {
  const { known, clock } = create(one());
  const slow = worker(1, { plannedAt: clock.now - 10_000, readyAt: clock.now, attempts: 1 });
  known.learn([slow]);
  const once = known.view()[0]?.startEstimateMs;
  known.learn([slow]);
  known.learnEnd(slow);
  expect(known.view()[0]?.startEstimateMs).toBe(once);
  expect(once).toBe(100 + 0.3 * 9_900);
});

test("a provider whose score is low is still a candidate, since its circuit is what keeps work away", async () => {
  const { known, fail, clock } = create(one());
  await known.refresh();
  for (let at = 1; at < 30; at++) {
    known.learn([worker(at, { plannedAt: clock.now - 60_000, readyAt: clock.now })]);
  }
  fail(4);
  expect(known.status([])[0]?.healthScore).toBeLessThan(0.5);
  expect(known.view()[0]?.healthScore).toBe(0.5);
});

test("names are taken once, and unknown ones are refused", () => {
  const { known, gauges } = create(one());
  expect(() => known.add(one(), defaultSettings)).toThrow("there is a provider one");
  expect(() => known.change("two", defaultSettings)).toThrow("there is no provider two");
  known.remove("one");
  expect(known.view()).toEqual([]);
  expect(gauges.get("gone one")).toBe(1);
});
