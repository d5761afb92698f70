import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  healthScore,
  learnCheck,
  type Learned,
  learnStart,
  learnStartTime,
  nothingLearned,
  startEstimate,
} from "#scheduler/providers-learned.ts";

const expectedMs = 3_000;
const at = (now: number) => ({ now, expectedMs });
const starts = (learned: Learned, outcomes: readonly boolean[], now = 0): Learned =>
  outcomes.reduce((before, isGood) => learnStart(before, isGood, now), learned);
const day = 86_400_000;

describe("the start-up time", () => {
  test("is what the provider expects before anything was seen", () => {
    expect(startEstimate(nothingLearned, at(5))).toBe(expectedMs);
  });

  test("moves to what is seen, and back when nothing is seen any more", () => {
    let learned = nothingLearned;
    for (let now = 0; now < 30; now++) {
      learned = learnStartTime(learned, { startMs: 20_000, ...at(now) });
    }
    expect(startEstimate(learned, at(30))).toBeGreaterThan(19_000);
    expect(startEstimate(learned, at(300_030))).toBeCloseTo(11_500, -3);
    expect(startEstimate(learned, at(day))).toBeCloseTo(expectedMs);
  });
});

describe("the health score", () => {
  test("is the prior before anything was seen", () => {
    expect(healthScore(nothingLearned, at(0))).toBe(0.95);
  });

  test("comes near one for a provider whose starts go well and are quick", () => {
    expect(healthScore(starts(nothingLearned, Array(20).fill(true)), at(0))).toBeGreaterThan(0.98);
  });

  test("falls below what any strategy takes when every start fails and is slow", () => {
    let learned = starts(nothingLearned, Array(10).fill(false));
    for (let now = 0; now < 30; now++) {
      learned = learnStartTime(learned, { startMs: 60_000, ...at(0) });
    }
    expect(healthScore(learned, at(0))).toBeLessThan(0.5);
  });

  test("soon tells a busy provider that breaks from its past", () => {
    const busy = starts(nothingLearned, Array(1_000).fill(true));
    const broken = starts(busy, Array(10).fill(false));
    expect(healthScore(broken, at(0))).toBeLessThan(healthScore(busy, at(0)) - 0.25);
  });

  test("counts health checks that fail", () => {
    let learned = starts(nothingLearned, Array(20).fill(true));
    for (let count = 0; count < 20; count++) learned = learnCheck(learned, 0, 0);
    const score = healthScore(learned, at(0));
    expect(score).toBeGreaterThan(0.75);
    expect(score).toBeLessThan(0.85);
  });

  test("is between 0 and 1, and goes back to the prior, whatever was seen", () => {
    const seen = fc.array(
      fc.tuple(fc.constantFrom("start", "time", "check"), fc.nat(100_000), fc.nat(1_000_000)),
      { maxLength: 50 },
    );
    fc.assert(
      fc.property(seen, (given) => {
        let learned = nothingLearned;
        for (const [what, value, now] of given) {
          if (what === "start") learned = learnStart(learned, value % 2 === 0, now);
          else if (what === "check") learned = learnCheck(learned, (value % 3) / 2, now);
          else learned = learnStartTime(learned, { startMs: value, ...at(now) });
        }
        const score = healthScore(learned, at(1_000_000));
        expect(score >= 0 && score <= 1).toBe(true);
        expect(healthScore(learned, at(100 * day))).toBeCloseTo(0.95);
      }),
    );
  });
});
