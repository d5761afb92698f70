import { describe, expect, it } from "vitest";
import { Backoff } from "#agent/backoff.ts";

describe("the pauses between tries", () => {
  it("keep ten thousand agents apart that lost their server in the same moment", () => {
    const [agents, mostMs, windowMs] = [10_000, 2_000, 100];
    let seed = 1;
    const random = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
    const tries = new Map<number, number>();
    for (let agent = 0; agent < agents; agent++) {
      const backoff = new Backoff(mostMs);
      for (let at = backoff.next(random()); at < 20_000; at += backoff.next(random())) {
        const window = Math.floor(at / windowMs);
        tries.set(window, (tries.get(window) ?? 0) + 1);
      }
    }
    const counts = [...tries].toSorted(([one], [other]) => one - other).map(([, count]) => count);
    // At first a fifth of them in a tenth of a second; once they have waited a while, half of that.
    expect(Math.max(...counts)).toBeLessThan(0.35 * agents);
    expect(Math.max(...counts.slice(20))).toBeLessThan(0.13 * agents);
  });

  it("are never longer than the longest, and begin anew after an answer", () => {
    const backoff = new Backoff(2_000);
    const pauses = [1, 2, 3, 4, 5].map(() => backoff.next(1));
    expect(pauses).toEqual([500, 1_000, 2_000, 2_000, 2_000]);
    backoff.reset();
    expect(backoff.next(1)).toBe(500);
    backoff.bound(300);
    expect(backoff.next(1)).toBe(300);
  });

  it("grow once every place of several was tried", () => {
    const backoff = new Backoff(2_000, 3);
    const pauses = [1, 2, 3, 4, 5, 6, 7].map(() => backoff.next(1));
    expect(pauses).toEqual([500, 500, 500, 1_000, 1_000, 1_000, 2_000]);
  });
});
