import { describe, expect, test } from "vitest";
import type { WorkerId } from "#job/id.ts";
import { Leases } from "#scheduler/leases.ts";

const one = "w00000000001" as WorkerId;
const other = "w00000000002" as WorkerId;

function start() {
  const clock = { now: 0 };
  const leases = new Leases({ suspectMs: 30, roundMs: 10, monotonic: () => clock.now });
  const pass = (ms: number): readonly WorkerId[] => {
    clock.now += ms;
    return leases.round();
  };
  return { leases, pass };
}

describe("leases", () => {
  test("names a worker once when it becomes suspect, and lists it as long as it is silent", () => {
    const { leases, pass } = start();
    leases.hear(one);
    expect([pass(10), pass(10), pass(10)].flat()).toEqual([]);
    expect(pass(10)).toEqual([one]);
    expect(pass(10)).toEqual([]);
    expect(leases.listSilent()).toEqual([{ workerId: one, silentMs: 50 }]);
    expect(leases.hear(one)).toBe(true);
    expect(leases.hear(one)).toBe(false);
    expect(leases.listSilent()).toEqual([]);
  });

  test("G10: the time in which this process stood still is nobody's silence", () => {
    const { leases, pass } = start();
    leases.hear(one);
    leases.hear(other);
    expect(pass(60_000)).toEqual([]);
    leases.hear(one);
    expect([pass(10), pass(10)].flat()).toEqual([other]);
  });

  test("counts a worker that was never heard from the moment at which it is expected", () => {
    const { leases, pass } = start();
    pass(10);
    leases.expect(one);
    expect([pass(10), pass(10), pass(10)].flat()).toEqual([]);
    leases.expect(one);
    expect(pass(10)).toEqual([one]);
    leases.forget(one);
    expect(leases.listSilent()).toEqual([]);
  });
});
