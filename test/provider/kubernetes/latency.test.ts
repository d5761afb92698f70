import { expect, test } from "vitest";
import { createLatency, startPhases } from "#provider/kubernetes/latency.ts";

function start(latency: ReturnType<typeof createLatency>, key: string, ms: number): void {
  for (const phase of startPhases) latency.observe(key, phase, ms / 4);
}

test("without a start the prior is expected", () => {
  expect(createLatency().estimateMs()).toBe(15_000);
  expect(createLatency({ priorMs: 4_000 }).estimateMs("image")).toBe(4_000);
});

test("starts move the estimate towards what they took", () => {
  const latency = createLatency();
  start(latency, "image", 1_000);
  const once = latency.estimateMs("image");
  expect(once).toBeLessThan(15_000);
  for (let n = 0; n < 100; n++) start(latency, "image", 1_000);
  expect(latency.estimateMs("image")).toBeLessThan(1_500);
  expect(latency.phasesOf("image")).toEqual({ schedule: 250, pull: 250, init: 250, connect: 250 });
});

test("old starts are forgotten", () => {
  const latency = createLatency();
  for (let n = 0; n < 100; n++) start(latency, "image", 60_000);
  for (let n = 0; n < 100; n++) start(latency, "image", 2_000);
  expect(latency.estimateMs("image")).toBeLessThan(3_000);
});

test("each image has its own estimate; one never seen has that of all", () => {
  const latency = createLatency();
  for (let n = 0; n < 50; n++) start(latency, "slow", 40_000);
  for (let n = 0; n < 50; n++) start(latency, "fast", 400);
  expect(latency.estimateMs("slow")).toBeGreaterThan(30_000);
  expect(latency.estimateMs("fast")).toBeLessThan(2_000);
  expect(latency.estimateMs("other")).toBe(latency.estimateMs());
});

test("only so many kinds of starts are kept, the latest ones", () => {
  const latency = createLatency({ maxKeys: 2 });
  for (const key of ["a", "b", "c"]) start(latency, key, 100);
  start(latency, "all", 100_000);
  expect(latency.estimateMs("a")).toBe(latency.estimateMs());
  expect(latency.estimateMs("c")).not.toBe(latency.estimateMs());
});

test("whoever counts is told each part", () => {
  const parts: [string, number][] = [];
  const latency = createLatency({ observe: (phase, ms) => void parts.push([phase, ms]) });
  latency.observe("image", "pull", 5);
  latency.observe("image", "pull", -1);
  expect(parts).toEqual([["pull", 5]]);
});
