import { describe, expect, test } from "vitest";
import { boundEvents, movesTo, stageOf } from "#job/history.ts";
import type { JobEvent } from "#job/job.ts";
import { canMove, isFinal, jobStates, moveJob, moves, type JobMove } from "#job/state.ts";

const allMoves = Object.keys(moves) as JobMove[];
const rows = jobStates.flatMap((state) => allMoves.map((move) => ({ state, move })));

describe("the table of a job's moves", () => {
  test.for(rows)("$move of a $state job", ({ state, move }) => {
    const isLegal = moves[move].from.includes(state);
    expect(canMove(state, move)).toBe(isLegal);
    if (isLegal) return expect(moveJob(state, move)).toBe(moves[move].to);
    expect(() => moveJob(state, move)).toThrow(`a ${state} job cannot`);
  });

  test("a final state has no way out, and every other one has", () => {
    for (const state of jobStates) {
      expect(allMoves.some((move) => canMove(state, move))).toBe(!isFinal(state));
    }
  });

  test("every state can be reached from queued", () => {
    const reached = new Set(["queued"]);
    for (const state of reached) {
      for (const { from, to } of Object.values(moves)) {
        if (from.some((one) => one === state)) reached.add(to);
      }
    }
    expect([...reached].toSorted()).toEqual([...jobStates].toSorted());
  });
});

describe("the way to an end", () => {
  const ends = ["succeed", "fail", "end_cancelled", "time_out", "requeue"] as const;
  const active = ["starting", "running", "cancelling"] as const;
  const cases = active.flatMap((state) =>
    ends.flatMap((move) => [true, false].map((hasStarted) => ({ state, move, hasStarted }))),
  );

  test.for(cases)("$move of a $state job follows the table", ({ state, move, hasStarted }) => {
    let at: (typeof jobStates)[number] = state;
    for (const one of movesTo(move, { state, hasStarted })) at = moveJob(at, one);
    expect(isFinal(at) || at === "queued").toBe(true);
    if (state !== "cancelling") expect(at).toBe(moves[move].to);
  });

  test("a job that is over has none", () => {
    expect(movesTo("fail", { state: "succeeded", hasStarted: true })).toEqual([]);
  });

  test("a job that is being cancelled stays at its stage", () => {
    expect(stageOf("cancelling", "starting")).toBe("preparing");
    expect(stageOf("cancelling", "running")).toBe("running");
    expect(stageOf("failed", "running")).toBe("ended");
  });
});

describe("a bounded history", () => {
  const event = (sequence: number): JobEvent => ({
    sequence,
    version: 1,
    at: 0,
    state: "queued",
    stage: "queued",
    attempt: 0,
    workerId: undefined,
    message: "",
    failure: undefined,
    dropped: 0,
  });

  test.for([4, 5, 8, 200])("of %d keeps its ends and counts what is missing", (maxEvents) => {
    let events: readonly JobEvent[] = [];
    for (let sequence = 1; sequence <= 1_000; sequence++) {
      events = boundEvents([...events, event(sequence)], maxEvents);
      expect(events.length).toBeLessThanOrEqual(maxEvents);
      expect(events[0]?.sequence).toBe(1);
      expect(events.at(-1)?.sequence).toBe(sequence);
      const missing = events.reduce((sum, one) => sum + one.dropped, 0);
      expect(events.length + missing).toBe(sequence);
    }
  });
});
