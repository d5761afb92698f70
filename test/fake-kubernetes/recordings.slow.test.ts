import { describe, expect, test } from "vitest";

import { listSituations, observationsOf, readRecording } from "../fake/kubernetes/recordings.ts";
import { notReproduced, replaySituation } from "./situations.ts";

describe("a recorded situation in the double", () => {
  test.concurrent.for(listSituations().filter((name) => !notReproduced.has(name)))(
    "shows what the real cluster showed: %s",
    { timeout: 20_000 },
    async (name, { expect }) => {
      const seen = observationsOf(await replaySituation(name));
      expect(seen).toEqual(observationsOf(readRecording(name)));
    },
  );

  test("leaves none of the situations out", () => {
    expect([...notReproduced]).toEqual([]);
    expect(listSituations()).toHaveLength(31);
  });
});
