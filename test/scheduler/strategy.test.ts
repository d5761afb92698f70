import { expect, test } from "vitest";
import { type Candidate, strategies } from "#scheduler/strategy.ts";

const context = {
  resources: { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" },
  labels: {},
  turn: 0,
};

function candidate(name: string, position: number): Candidate {
  return {
    name,
    type: "process",
    position,
    healthScore: 1,
    workers: 0,
    maxWorkers: 1,
    pricePerHour: 0,
    startEstimateMs: 0,
  };
}

test("first_available keeps the order of the configuration", () => {
  const ranked = strategies.first_available([candidate("b", 1), candidate("a", 0)], context);
  expect(ranked.map((entry) => entry.name)).toEqual(["a", "b"]);
  expect(ranked[0]?.score).toBeGreaterThan(ranked[1]?.score ?? 1);
});

test("nobody is ranked when nobody can take it", () => {
  expect(strategies.first_available([], context)).toEqual([]);
});
