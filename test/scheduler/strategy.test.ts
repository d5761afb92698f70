import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Candidate,
  leastHealth,
  strategies,
  type StrategyContext,
  type StrategyName,
  weighted,
} from "#scheduler/strategy.ts";

const context: StrategyContext = {
  resources: { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" },
  labels: {},
  turn: 0,
};

function candidate(name: string, position: number, more: Partial<Candidate> = {}): Candidate {
  return {
    name,
    type: "process",
    position,
    healthScore: 1,
    workers: 0,
    maxWorkers: 1,
    pricePerHour: 0,
    startEstimateMs: 0,
    labels: {},
    ...more,
  };
}

type Facts = readonly [price: number, startMs: number, health: number, used: number, max: number];

function known(name: string, position: number, facts: Facts): Candidate {
  const [pricePerHour, startEstimateMs, healthScore, workers, maxWorkers] = facts;
  return candidate(name, position, {
    pricePerHour,
    startEstimateMs,
    healthScore,
    workers,
    maxWorkers,
  });
}

/** Providers with known winners; one that is full never becomes a candidate. */
const golden = [
  known("docker-a", 0, [0.2, 3_000, 0.92, 8, 10]),
  known("k8s-a", 1, [0.1, 15_000, 0.85, 2, 20]),
  known("k8s-b", 2, [0.12, 12_000, 0.99, 10, 20]),
  known("cheap-sick", 3, [0.08, 8_000, 0.45, 0, 10]),
];

function winner(name: StrategyName, more: Partial<StrategyContext> = {}, of = golden) {
  return strategies[name](of, { ...context, ...more })[0]?.name;
}

describe("strategies", () => {
  test.each([
    ["first_available", "docker-a"],
    ["lowest_cost", "k8s-a"],
    ["fastest_startup", "docker-a"],
    ["most_capacity", "k8s-a"],
    ["healthiest", "k8s-b"],
    ["balanced", "k8s-a"],
    ["cost_optimized", "k8s-a"],
    ["performance", "docker-a"],
    ["health_critical", "k8s-b"],
  ] as const)("%s chooses %s", (name, expected) => {
    expect(winner(name)).toBe(expected);
  });

  test("round_robin takes turns among those that are well", () => {
    const turns = [0, 1, 2, 3, 4].map((turn) => winner("round_robin", { turn }));
    expect(turns).toEqual(["docker-a", "k8s-a", "k8s-b", "docker-a", "k8s-a"]);
  });

  test("by_labels prefers the most matches, then the quickest start", () => {
    const of = [
      candidate("none", 0),
      candidate("slow", 1, { labels: { zone: "a", disk: "ssd" }, startEstimateMs: 9_000 }),
      candidate("quick", 2, { labels: { zone: "a", disk: "ssd" }, startEstimateMs: 1_000 }),
      candidate("half", 3, { labels: { zone: "a", disk: "hdd" } }),
    ];
    const ranked = strategies.by_labels(of, { ...context, labels: { zone: "a", disk: "ssd" } });
    expect(ranked.map(({ name }) => name)).toEqual(["quick", "slow", "half", "none"]);
    expect(ranked.map(({ score }) => score)).toEqual([1, 1, 0.5, 0]);
  });

  test("own weights decide alone", () => {
    const cost = weighted({ health: 0, cost: 1, startup: 0, capacity: 0 });
    expect(cost(golden, context)[0]?.name).toBe("k8s-a");
    const startup = weighted({ health: 0, cost: 0, startup: 1, capacity: 0 });
    expect(startup(golden, context)[0]?.name).toBe("docker-a");
  });

  test("spare capacity is never a penalty", () => {
    const penalising: string[] = [];
    for (const name of Object.keys(strategies) as StrategyName[]) {
      if (name === "round_robin" || name === "first_available") continue;
      const of = [candidate("full", 0, { workers: 9, maxWorkers: 10 }), candidate("empty", 1)];
      const facts = { pricePerHour: 1, startEstimateMs: 100 };
      const ranked = strategies[name](
        of.map((one) => ({ ...one, ...facts })),
        context,
      );
      const scores = new Map(ranked.map((entry) => [entry.name, entry.score]));
      if ((scores.get("empty") ?? 0) < (scores.get("full") ?? 0)) penalising.push(name);
    }
    expect(penalising).toEqual([]);
  });

  test("nobody is ranked when nobody can take it", () => {
    for (const rank of Object.values(strategies)) expect(rank([], context)).toEqual([]);
  });
});

const anyCandidate = fc.record({
  healthScore: fc.double({ min: 0, max: 1, noNaN: true }),
  workers: fc.nat(20),
  maxWorkers: fc.nat(20),
  pricePerHour: fc.double({ min: 0, max: 10, noNaN: true }),
  startEstimateMs: fc.nat(100_000),
  labels: fc.dictionary(fc.constantFrom("zone", "disk"), fc.constantFrom("a", "b")),
});

test("every strategy ranks each candidate that is well once, best first, whatever the order of its input", () => {
  fc.assert(
    fc.property(
      fc.array(anyCandidate, { maxLength: 6 }),
      fc.nat(50),
      fc.constantFrom(...(Object.keys(strategies) as StrategyName[])),
      (facts, turn, name) => {
        const all = facts.map((more, at) => candidate(`p${at}`, at, more));
        const given = { ...context, turn, labels: { zone: "a" } };
        const ranked = strategies[name](all, given);
        const expected = all.filter((one) => one.healthScore >= leastHealth).map((one) => one.name);
        expect(ranked.map((entry) => entry.name).toSorted()).toEqual(expected);
        const scores = ranked.map((entry) => entry.score);
        expect(scores).toEqual(scores.toSorted((one, other) => other - one));
        expect(strategies[name](all.toReversed(), given)).toEqual(ranked);
      },
    ),
  );
});
