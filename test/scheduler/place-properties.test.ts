import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { place, type Plan } from "#scheduler/place.ts";
import { createStrategies } from "#scheduler/strategies.ts";
import { parseClassKey, noPreference } from "#worker/class.ts";
import { countOf, demand, keyOf, other, plain, snapshot, view, worker } from "./snapshot.ts";

const demands = fc.array(
  fc.record({
    tenant: fc.constantFrom("a", "b", "c"),
    classKey: fc.constantFrom(
      plain,
      other,
      keyOf({ provider: { ...noPreference, name: "two", isStrict: true } }),
      keyOf({ provider: { ...noPreference, name: "two" } }),
      keyOf({ provider: { ...noPreference, runtimes: ["python"] } }),
      keyOf({ provider: { ...noPreference, runtimes: ["node", "python"] } }),
    ),
    priority: fc.integer({ min: -2, max: 2 }),
    queued: fc.integer({ min: 0, max: 20 }),
    waiting: fc.constant(0),
    oldestAt: fc.integer({ min: 0, max: 5 }),
  }),
  { maxLength: 12 },
);
const uniqueDemands = demands.map((list) => [
  ...new Map(
    list.map((entry) => [`${entry.tenant}${entry.classKey}${entry.priority}`, entry]),
  ).values(),
]);
const liveWorkers = fc
  .array(
    fc.record({
      provider: fc.constantFrom("one", "two"),
      classKey: fc.constantFrom(plain, other),
      state: fc.constantFrom("planned", "starting", "ready", "draining", "stopping"),
      tenant: fc.constantFrom(undefined, "a", "b"),
      isReady: fc.boolean(),
      plannedAt: fc.integer({ min: 0, max: 100 }),
    }),
    { maxLength: 8 },
  )
  .map((list) =>
    list.map(({ isReady, ...given }, at) =>
      worker(at + 1, { ...given, readyAt: isReady ? 100 : undefined }),
    ),
  );
const circuits = fc.record({
  state: fc.constantFrom("closed", "half_open", "open"),
  since: fc.integer({ min: 0, max: 100 }),
  reason: fc.constant(""),
});
const runtimes = fc.subarray(["go", "node", "python"]);
const snapshots = fc
  .record({
    demand: uniqueDemands,
    workers: liveWorkers,
    one: fc.integer({ min: 0, max: 8 }),
    two: fc.integer({ min: 0, max: 8 }),
    circuits: fc.tuple(circuits, circuits),
    runtimes: fc.tuple(runtimes, runtimes),
    isEnabled: fc.boolean(),
    warmCount: fc.integer({ min: 0, max: 3 }),
    slots: fc.integer({ min: 1, max: 3 }),
    bindsTenant: fc.boolean(),
  })
  .map((given) =>
    snapshot({
      demand: given.demand,
      workers: given.workers,
      providers: [
        view("one", {
          maxWorkers: given.one,
          circuit: given.circuits[0],
          runtimes: given.runtimes[0],
        }),
        view("two", {
          maxWorkers: given.two,
          circuit: given.circuits[1],
          runtimes: given.runtimes[1],
          isEnabled: given.isEnabled,
        }),
      ],
      warm: [{ classKey: plain, provider: undefined, tenant: undefined, count: given.warmCount }],
      limits: {
        maxPlans: 100,
        slots: given.slots,
        maxJobs: given.slots,
        bindsTenant: given.bindsTenant,
        weightOf: () => 1,
      },
    }),
  );

describe("place, whatever it is given", () => {
  test("never exceeds a provider's capacity", () => {
    fc.assert(
      fc.property(snapshots, (given) => {
        const plan = place(given);
        for (const { name, maxWorkers } of given.providers) {
          const live = given.workers.filter((entry) => entry.provider === name).length;
          const planned = countOf(plan, { provider: name });
          expect(planned === 0 || live + planned <= maxWorkers).toBe(true);
        }
      }),
    );
  });

  test("gives nothing to a provider that is disabled or whose circuit is open", () => {
    fc.assert(
      fc.property(snapshots, (given) => {
        const plan = place(given);
        for (const { name, isEnabled, circuit } of given.providers) {
          if (isEnabled && circuit.state !== "open") continue;
          expect(countOf(plan, { provider: name })).toBe(0);
        }
      }),
    );
  });

  test("gives a provider whose circuit is half open one probe, and none while one is out", () => {
    fc.assert(
      fc.property(snapshots, (given) => {
        const plan = place(given);
        for (const { name, circuit } of given.providers) {
          if (circuit.state !== "half_open") continue;
          const out = given.workers.filter(
            ({ provider, readyAt, plannedAt, state }) =>
              provider === name &&
              readyAt === undefined &&
              plannedAt >= circuit.since &&
              state !== "stopping",
          ).length;
          expect(countOf(plan, { provider: name })).toBeLessThanOrEqual(out === 0 ? 1 : 0);
        }
      }),
    );
  });

  test("never places a strict class anywhere else", () => {
    fc.assert(
      fc.property(snapshots, (given) => {
        const strays = place(given).placements.filter(({ classKey, provider }) => {
          const { isStrict, name } = parseClassKey(classKey).provider;
          return isStrict && provider !== name;
        });
        expect(strays).toEqual([]);
      }),
    );
  });

  test("never places a class where one of its runtimes is missing", () => {
    fc.assert(
      fc.property(snapshots, (given) => {
        for (const { classKey, provider } of place(given).placements) {
          const own = given.providers.find(({ name }) => name === provider)?.runtimes;
          expect(own).toEqual(expect.arrayContaining([...wishedRuntimes(classKey)]));
        }
      }),
    );
  });

  test("does not depend on the order of demand and workers", () => {
    fc.assert(
      fc.property(snapshots, (given) => {
        const turned = {
          ...given,
          demand: given.demand.toReversed(),
          workers: given.workers.toReversed(),
        };
        const sorted = (plan: Plan) => plan.placements.map((entry) => JSON.stringify(entry)).sort();
        expect(sorted(place(turned))).toEqual(sorted(place(given)));
      }),
    );
  });

  test("leaves nobody without a worker while there is room that suits", () => {
    fc.assert(
      fc.property(snapshots, (given) => {
        const plan = place(given);
        const planned = (name: string) =>
          given.workers.filter((entry) => entry.provider === name).length +
          countOf(plan, { provider: name });
        for (const { classKey } of plan.unplaced) {
          const { isStrict } = parseClassKey(classKey).provider;
          const suiting = given.providers.filter(
            ({ name, runtimes: own }) =>
              (!isStrict || name === "two") &&
              wishedRuntimes(classKey).every((runtime) => own.includes(runtime)),
          );
          for (const { name, maxWorkers, circuit, isEnabled } of suiting) {
            if (!isEnabled || circuit.state !== "closed") continue;
            expect(planned(name)).toBeGreaterThanOrEqual(maxWorkers);
          }
        }
      }),
    );
  });

  test("two tenants that want the same differ by one worker at most", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 30, max: 99 }),
        (room, queued) => {
          const plan = place(
            snapshot({
              providers: [view("one", { maxWorkers: room })],
              demand: [
                demand({ tenant: "a", queued }),
                demand({ tenant: "b", classKey: other, queued }),
              ],
            }),
          );
          const [a, b] = [countOf(plan, { classKey: plain }), countOf(plan, { classKey: other })];
          expect(a + b).toBe(room);
          expect(Math.abs(a - b)).toBeLessThanOrEqual(1);
        },
      ),
    );
  });

  test("never evicts or lets go a worker that has a job, nor one for both reasons", () => {
    fc.assert(
      fc.property(snapshots, (given) => {
        const { surplus, evictions } = place(given);
        const ids = [...surplus, ...evictions];
        expect(new Set(ids).size).toBe(ids.length);
        for (const id of ids) {
          expect(given.workers.find((entry) => entry.id === id)?.jobs).toEqual([]);
        }
      }),
    );
  });

  test("whatever a strategy of one's own says, only what is eligible is used, and once", () => {
    const broken = {
      liar: () => ["nobody", "two", "two", "one"].map((name) => ({ name, score: 1, reason: "" })),
      thrower: () => {
        throw new Error("no idea");
      },
    };
    fc.assert(
      fc.property(snapshots, fc.constantFrom("liar", "thrower"), (given, standard) => {
        const strategies = createStrategies({ standard, own: broken });
        const plan = place({ ...given, strategies });
        const used = plan.placements.map(({ provider }) => provider);
        const possible = standard === "thrower" ? [] : ["one", "two"];
        expect(used.filter((name) => !possible.includes(name))).toEqual([]);
        for (const { name, maxWorkers } of given.providers) {
          const live = given.workers.filter((entry) => entry.provider === name).length;
          const planned = countOf(plan, { provider: name });
          expect(planned === 0 || live + planned <= maxWorkers).toBe(true);
        }
      }),
    );
  });
});

function wishedRuntimes(classKey: string): readonly string[] {
  return parseClassKey(classKey).provider.runtimes;
}
