import { describe, expect, test } from "vitest";
import { workerIdOf } from "#job/id.ts";
import { place } from "#scheduler/place.ts";
import { countOf, demand, keyOf, other, plain, snapshot, view, worker } from "./snapshot.ts";
import { noPreference } from "#worker/class.ts";

describe("place", () => {
  test("plans one worker per queued job, up to the provider's capacity", () => {
    expect(countOf(place(snapshot({ demand: [demand({ queued: 3 })] })))).toBe(3);
    expect(countOf(place(snapshot({ demand: [demand({ queued: 1_000_000 })] })))).toBe(4);
  });

  test.for(["planned", "starting", "ready"] as const)(
    "counts a %s worker without a job against demand",
    (state) => {
      const plan = place(
        snapshot({ demand: [demand({ queued: 2 })], workers: [worker(1, { state })] }),
      );
      expect(countOf(plan)).toBe(1);
    },
  );

  test("counts workers that are being ended against the capacity, not against demand", () => {
    const workers = [worker(1, { state: "stopping" }), worker(2, { state: "draining" })];
    const plan = place(snapshot({ demand: [demand({ queued: 9 })], workers }));
    expect(countOf(plan)).toBe(2);
  });

  test("expects nothing of a worker that is not heard, and counts it against the capacity", () => {
    const workers = [worker(1), worker(2)];
    const silent = new Set([workerIdOf(1), workerIdOf(2)]);
    const one = place(snapshot({ workers, silent, demand: [demand()] }));
    expect(countOf(one)).toBe(1);
    const many = place(snapshot({ workers, silent, demand: [demand({ queued: 5 })] }));
    expect(countOf(many)).toBe(2);
  });

  test("a class that cannot be placed holds nobody up", () => {
    const refusing = view("one", {
      refusalOf: ({ image }) => (image === "other" ? "has no images" : undefined),
    });
    const plan = place(
      snapshot({
        providers: [refusing],
        demand: [
          demand({ classKey: other, queued: 1_000_000, priority: 9 }),
          demand({ queued: 2 }),
        ],
      }),
    );
    expect(countOf(plan, { classKey: plain })).toBe(2);
    expect(plan.unplaced).toMatchObject([{ classKey: other, count: 1_000_000, canPass: false }]);
    expect(plan.unplaced[0]?.verdicts).toMatchObject([
      { isEligible: false, reason: "has no images" },
    ]);
  });

  test("tenants share scarce capacity by weight, whatever they have queued", () => {
    const plan = place(
      snapshot({
        providers: [view("one", { maxWorkers: 6 })],
        demand: [
          demand({ tenant: "a", classKey: plain, queued: 1_000 }),
          demand({ tenant: "b", classKey: other, queued: 1_000 }),
        ],
        limits: {
          ...snapshot().limits,
          weightOf: (tenant) => (tenant === "a" ? 2 : 1),
        },
      }),
    );
    expect(countOf(plan, { classKey: plain })).toBe(4);
    expect(countOf(plan, { classKey: other })).toBe(2);
  });

  test("what a tenant uses already counts for its share", () => {
    const busy = (number: number) =>
      worker(number, { tenant: "a", attempts: 1, jobs: [`j${number}` as never] });
    const plan = place(
      snapshot({
        workers: [busy(1), busy(2)],
        demand: [demand({ tenant: "a" }), demand({ tenant: "b", classKey: other, queued: 5 })],
      }),
    );
    expect(countOf(plan, { classKey: other })).toBe(2);
  });

  test("within a tenant the higher priority goes first, then the older", () => {
    const plan = place(
      snapshot({
        providers: [view("one", { maxWorkers: 1 })],
        demand: [
          demand({ priority: 0, oldestAt: 1 }),
          demand({ classKey: other, priority: 5, oldestAt: 9 }),
        ],
      }),
    );
    expect(countOf(plan, { classKey: other })).toBe(1);
  });

  test("fills the slots of reused workers before it plans more", () => {
    const plan = place(
      snapshot({
        demand: [demand({ queued: 9 })],
        limits: { ...snapshot().limits, slots: 4, maxJobs: 100 },
      }),
    );
    expect(countOf(plan)).toBe(3);
  });

  test("a soft preference goes elsewhere when it must, a strict one never", () => {
    const providers = [view("one"), view("two", { maxWorkers: 1 })];
    const soft = keyOf({ provider: { ...noPreference, name: "two" } });
    const strict = keyOf({ provider: { ...noPreference, name: "two", isStrict: true } });
    const plan = place(snapshot({ providers, demand: [demand({ classKey: soft, queued: 2 })] }));
    expect(countOf(plan, { provider: "two" })).toBe(1);
    expect(countOf(plan, { provider: "one" })).toBe(1);
    const bound = place(snapshot({ providers, demand: [demand({ classKey: strict, queued: 2 })] }));
    expect(countOf(bound, { provider: "one" })).toBe(0);
    expect(countOf(bound, { provider: "two" })).toBe(1);
  });

  test.each([
    ["label", { requiredLabels: { disk: "ssd" } }, "its label disk is hdd, not ssd"],
    ["missing label", { requiredLabels: { zone: "a" } }, "lacks the label zone=a"],
    ["region", { allowedRegions: ["eu"] }, "its region us is not one of eu"],
    ["architecture", { architecture: "arm64" }, "has no arm64"],
    [
      "runtimes",
      { runtimes: ["node", "python", "go"] },
      "lacks the runtimes go and python; it has node",
    ],
  ] as const)("never runs a job where its %s does not fit", (_, wish, reason) => {
    const one = view("one", {
      labels: { disk: "hdd" },
      region: "us",
      architectures: ["amd64"],
      runtimes: ["node"],
    });
    const classKey = keyOf({ provider: { ...noPreference, ...wish } });
    const plan = place(snapshot({ providers: [one], demand: [demand({ classKey })] }));
    expect(plan.placements).toEqual([]);
    expect(plan.unplaced[0]?.verdicts[0]?.reason).toBe(reason);
    const two = view("two", {
      labels: { disk: "ssd", zone: "a" },
      region: "eu",
      architectures: ["amd64", "arm64"],
      runtimes: ["go", "node", "python"],
    });
    const both = place(snapshot({ providers: [one, two], demand: [demand({ classKey })] }));
    expect(countOf(both, { provider: "two" })).toBe(1);
  });

  test("a provider that names no runtimes is given no job that asks for one", () => {
    const classKey = keyOf({ provider: { ...noPreference, runtimes: ["python"] } });
    const plan = place(snapshot({ demand: [demand({ classKey })] }));
    expect(plan.unplaced[0]?.verdicts[0]?.reason).toBe(
      "lacks the runtime python; it names no runtimes",
    );
  });

  test("a provider with a bound on time takes no longer job", () => {
    const short = view("short", { maxHours: 6 });
    const keys = [1, 6, 24, 0].map((longestHours) => keyOf({ longestHours }));
    const placed = keys.map(
      (classKey) =>
        place(snapshot({ providers: [short], demand: [demand({ classKey })] })).placements.length,
    );
    expect(placed).toEqual([1, 1, 0, 0]);
  });

  test("the preferred region comes first, and the preferred provider before it", () => {
    const providers = [
      view("one"),
      view("two", { region: "eu" }),
      view("three", { type: "kubernetes" }),
    ];
    const first = (wish: Partial<typeof noPreference>): string | undefined => {
      const classKey = keyOf({ provider: { ...noPreference, ...wish } });
      return place(snapshot({ providers, demand: [demand({ classKey })] })).placements[0]?.provider;
    };
    expect(first({ preferredRegion: "eu" })).toBe("two");
    expect(first({ preferredRegion: "eu", name: "K8s" })).toBe("three");
    expect(first({ preferredRegion: "mars" })).toBe("one");
  });

  test("gives nothing to an unhealthy provider, nor to one that pauses for the class", () => {
    const sick = view("one", { health: "unhealthy", healthReason: "no answer" });
    const pausing = view("two", {
      pauses: new Map([[plain, { until: 2_000, reason: "403", isForImage: false }]]),
    });
    const plan = place(snapshot({ providers: [sick, pausing], demand: [demand()] }));
    expect(countOf(plan)).toBe(0);
    expect(plan.unplaced[0]?.canPass).toBe(true);
    const later = place(snapshot({ now: 2_000, providers: [sick, pausing], demand: [demand()] }));
    expect(countOf(later, { provider: "two" })).toBe(1);
  });

  test("keeps a warm pool beside demand, and refills it", () => {
    const warm = [{ classKey: plain, provider: undefined, tenant: undefined, count: 2 }];
    expect(place(snapshot({ warm })).placements).toMatchObject([{ count: 2, isWarm: true }]);
    const workers = [worker(1), worker(2)];
    expect(countOf(place(snapshot({ warm, workers })))).toBe(0);
    const plan = place(snapshot({ warm, workers, demand: [demand()] }));
    expect(plan.placements).toMatchObject([{ count: 1, isWarm: true }]);
  });

  test("a tenant's warm workers are its own", () => {
    const warm = [{ classKey: plain, provider: undefined, tenant: "a", count: 1 }];
    expect(place(snapshot({ warm })).placements).toMatchObject([{ tenant: "a", isWarm: true }]);
    const workers = [worker(1, { tenant: "a" }), worker(2, { tenant: "a" }), worker(3)];
    const plan = place(snapshot({ warm, workers }));
    expect(countOf(plan)).toBe(0);
    expect(plan.surplus).toHaveLength(2);
    const others = place(snapshot({ warm, workers, demand: [demand({ tenant: "b", queued: 2 })] }));
    expect(others.placements).toMatchObject([{ count: 1, isWarm: false }]);
  });

  test("names the workers that nobody needs", () => {
    const workers = [worker(1), worker(2), worker(3, { state: "starting" })];
    const warm = [{ classKey: plain, provider: undefined, tenant: undefined, count: 1 }];
    expect(place(snapshot({ workers, warm, demand: [demand()] })).surplus).toEqual([workerIdOf(3)]);
    expect(place(snapshot({ workers })).surplus).toHaveLength(3);
  });

  test("idle workers give way to a class that finds its provider full", () => {
    const workers = [worker(1), worker(2)];
    const full = snapshot({
      workers,
      providers: [view("one", { maxWorkers: 2 })],
      warm: [{ classKey: plain, provider: undefined, tenant: undefined, count: 2 }],
      demand: [demand({ classKey: other })],
    });
    expect(place(full).evictions).toHaveLength(1);
    const draining = [worker(1, { state: "draining" }), worker(2)];
    expect(place({ ...full, workers: draining }).evictions).toEqual([]);
  });
});
