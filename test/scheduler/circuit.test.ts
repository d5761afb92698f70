import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Circuit, type CircuitNews, closedCircuit, moveCircuit } from "#scheduler/circuit.ts";

const limits = {
  circuitFailures: 5,
  circuitSuccesses: 3,
  circuitOpenMs: 60_000,
  maxCircuitOpenMs: 600_000,
};

/** What comes of news, each with the time at which it comes. */
function after(
  news: readonly (readonly [at: number, news: CircuitNews])[],
  from: Circuit = closedCircuit(0),
): Circuit {
  return news.reduce(
    (circuit, [now, entry]) => moveCircuit(circuit, entry, { now, random: 0.5, limits }),
    from,
  );
}

const failed = (plannedAt: number): CircuitNews => ({
  kind: "failed",
  plannedAt,
  reason: "no machine",
});
const succeeded = (plannedAt: number): CircuitNews => ({ kind: "succeeded", plannedAt });
const sick: CircuitNews = { kind: "sick", reason: "no answer" };
const well: CircuitNews = { kind: "well" };
const none: CircuitNews = { kind: "none" };
const times = (count: number, at: number, news: CircuitNews) =>
  Array.from({ length: count }, () => [at, news] as const);

const opened = after(times(5, 10, failed(10)));
const halfOpen = after([[60_010, none]], opened);

describe("a closed circuit", () => {
  test("stays closed before the last failure in a row", () => {
    expect(after(times(4, 10, failed(10)))).toMatchObject({ state: "closed", failures: 4 });
  });

  test("opens at the last failure, for a while", () => {
    expect(opened).toMatchObject({ state: "open", since: 10, until: 60_010 });
    expect(opened.reason).toBe("5 starts in a row failed: no machine");
  });

  test("counts afresh after a start that went well", () => {
    const news = [...times(4, 1, failed(1)), [2, succeeded(1)] as const, ...times(4, 3, failed(3))];
    expect(after(news).state).toBe("closed");
  });

  test("opens at once when the provider is sick", () => {
    expect(after([[7, sick]])).toMatchObject({ state: "open", until: undefined });
  });
});

describe("an open circuit", () => {
  test("is half open when its pause is over, and not before", () => {
    expect(after([[60_009, none]], opened).state).toBe("open");
    expect(halfOpen).toMatchObject({ state: "half_open", since: 60_010 });
  });

  test("is indifferent to starts that were under way", () => {
    const news = [[20, failed(5)] as const, [30, succeeded(5)] as const];
    expect(after(news, opened)).toEqual(opened);
  });

  test("stays open as long as the provider is sick, and is half open as soon as it is well", () => {
    const waiting = after(
      [
        [20, sick],
        [900_000, none],
      ],
      opened,
    );
    expect(waiting.state).toBe("open");
    expect(after([[900_001, well]], waiting).state).toBe("half_open");
  });
});

describe("a half open circuit", () => {
  test("closes after enough probes that went well", () => {
    expect(after(times(2, 60_020, succeeded(60_015)), halfOpen).state).toBe("half_open");
    const closed = after(times(3, 60_020, succeeded(60_015)), halfOpen);
    expect(closed).toEqual(closedCircuit(60_020));
  });

  test("opens for longer when a probe fails, up to a bound", () => {
    let circuit = opened;
    const pauses: number[] = [];
    for (let round = 0; round < 6; round++) {
      const begin = circuit.until ?? 0;
      circuit = after(
        [
          [begin, none],
          [begin, failed(begin)],
        ],
        circuit,
      );
      pauses.push((circuit.until ?? 0) - begin);
    }
    expect(pauses).toEqual([120_000, 240_000, 480_000, 600_000, 600_000, 600_000]);
  });

  test("learns nothing from starts that began before", () => {
    const news = [[60_020, failed(60_009)] as const, [60_021, succeeded(60_009)] as const];
    expect(after(news, halfOpen)).toEqual(halfOpen);
  });

  test("opens when the provider is sick", () => {
    expect(after([[60_020, sick]], halfOpen)).toMatchObject({ state: "open", until: undefined });
  });
});

test("a circuit that opened for the provider's health closes without a start when it stays well", () => {
  const open = after([[7, sick]]);
  expect(after(times(3, 20, well), open).state).toBe("half_open");
  expect(after(times(4, 20, well), open)).toEqual(closedCircuit(20));
  expect(after(times(9, 60_020, well), halfOpen).state).toBe("half_open");
});

test("a clock that is set back makes no pause longer, and probes still count", () => {
  const day = 86_400_000;
  const open = after(times(5, day, failed(day)));
  expect(after([[10, none]], open)).toMatchObject({ state: "open", since: 10, until: 60_010 });
  const probing = after([[day + 60_000, none]], open);
  const healed = after([[10, none], ...times(3, 20, succeeded(15))], probing);
  expect(healed.state).toBe("closed");
});

test("pauses of many circuits are spread", () => {
  const pause = (random: number): number | undefined =>
    times(5, 0, failed(0)).reduce(
      (circuit, [now, entry]) => moveCircuit(circuit, entry, { now, random, limits }),
      closedCircuit(0),
    ).until;
  expect([pause(0), pause(0.5)]).toEqual([48_000, 60_000]);
});

test("whatever happens, a provider that is well again gets its share back", () => {
  const news = fc.oneof(
    fc.integer({ min: 0, max: 1_000_000 }).map(failed),
    fc.integer({ min: 0, max: 1_000_000 }).map(succeeded),
    fc.constantFrom(sick, well, none),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(1_000_000), news), { maxLength: 60 }), (given) => {
      const ordered = given.toSorted(([one], [other]) => one - other);
      const later = 3_000_000;
      const healed = after([[later, well], ...times(3, later, succeeded(later))], after(ordered));
      expect(healed.state).toBe("closed");
    }),
  );
});
