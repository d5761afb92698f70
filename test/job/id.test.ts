import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  attemptIdOf,
  createSequence,
  isAttemptId,
  isJobId,
  isWorkerId,
  jobIdOf,
  numberAtTime,
  numberOf,
  timeOfNumber,
  workerIdOf,
} from "#job/id.ts";

const number = fc.maxSafeNat();

test("an id and its number say the same", () => {
  fc.assert(
    fc.property(number, (one) => {
      expect(numberOf(jobIdOf(one))).toBe(one);
      expect(isJobId(jobIdOf(one))).toBe(true);
      expect(isWorkerId(workerIdOf(one))).toBe(true);
    }),
  );
});

test("ids are ordered as their numbers", () => {
  fc.assert(
    fc.property(number, number, (one, other) => {
      expect(jobIdOf(one) < jobIdOf(other)).toBe(one < other);
    }),
  );
});

test("a sequence grows, also when the clock does not", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1_760_000_000_000, max: 1_770_000_000_000 })),
      (times) => {
        const next = createSequence(5);
        let last = 5;
        for (const time of times) {
          const made = next(time);
          expect(made).toBeGreaterThan(last);
          expect(made).toBeGreaterThanOrEqual(numberAtTime(time));
          last = made;
        }
      },
    ),
  );
});

test("a number tells its time", () => {
  const time = Date.UTC(2026, 4, 5);
  expect(timeOfNumber(createSequence()(time))).toBe(time);
  expect(timeOfNumber(numberAtTime(time))).toBe(time);
});

test("attempt ids are 128 random bits and more, all different", () => {
  const ids = Array.from({ length: 1_000 }, () => attemptIdOf(randomBytes(17)));
  expect(ids.every(isAttemptId)).toBe(true);
  expect(new Set(ids).size).toBe(1_000);
});

test.for(["", "j", "j0123456789", "x0123456789a", "j0123456789I", "j0123456789ab", "J0123456789a"])(
  "%j is no job's id",
  (text) => {
    expect(isJobId(text)).toBe(false);
  },
);
