import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { classKeyOf, classOf, noPreference, parseClassKey } from "#worker/class.ts";

const resources = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" };
const plain = { image: "", resources, provider: undefined, executionTimeoutMs: 60_000 };

const labels = fc.dictionary(fc.string({ maxLength: 5 }), fc.string({ maxLength: 5 }));
const anyClass = fc.record({
  image: fc.string({ maxLength: 8 }),
  resources: fc.record({
    cpuMillis: fc.nat(),
    memoryBytes: fc.nat(),
    diskBytes: fc.nat(),
    gpuCount: fc.nat(8),
    gpuType: fc.constantFrom("", "nvidia"),
  }),
  provider: fc.record({
    name: fc.constantFrom("", "k8s"),
    isStrict: fc.boolean(),
    strategy: fc.constantFrom("", "lowest_cost"),
    requiredLabels: labels,
    preferredLabels: labels,
    preferredRegion: fc.constantFrom("", "eu"),
    allowedRegions: fc.subarray(["eu", "us"]),
    architecture: fc.constantFrom("", "arm64"),
    runtimes: fc.subarray(["node", "python"]),
  }),
  longestHours: fc.constantFrom(0, 1, 6, 24, 168),
});

describe("a class", () => {
  test("comes back from its key", () => {
    fc.assert(
      fc.property(anyClass, (given) => {
        expect(parseClassKey(classKeyOf(given))).toEqual(given);
      }),
    );
  });

  test("has one key, in whatever order its labels, regions and runtimes are given", () => {
    const keyOf = (provider: Partial<typeof noPreference>): string =>
      classKeyOf(classOf({ ...plain, provider: { ...noPreference, ...provider } }));
    expect(keyOf({ requiredLabels: { a: "1", b: "2" }, allowedRegions: ["eu", "us"] })).toBe(
      keyOf({ requiredLabels: { b: "2", a: "1" }, allowedRegions: ["us", "eu"] }),
    );
    expect(keyOf({ runtimes: ["node", "python"] })).toBe(keyOf({ runtimes: ["python", "node"] }));
    expect(keyOf({})).toBe(classKeyOf(classOf(plain)));
  });

  test("is shared by jobs whose longest times are near to each other", () => {
    const hoursOf = (executionTimeoutMs: number): number =>
      classOf({ ...plain, executionTimeoutMs }).longestHours;
    const hour = 3_600_000;
    expect([1, hour, hour + 1, 20 * hour, 30 * hour, 999 * hour].map(hoursOf)).toEqual([
      1, 1, 6, 24, 168, 0,
    ]);
  });
});
