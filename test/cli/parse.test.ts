import { describe, expect, test } from "vitest";
import {
  parseCpu,
  parseDuration,
  parseExitCodes,
  parseGpu,
  parsePair,
  parsePriority,
  parseSize,
} from "#cli/parse.ts";

describe("parseDuration", () => {
  test.for([
    ["500ms", 500],
    ["0s", 0],
    ["90s", 90_000],
    ["1.5h", 5_400_000],
    ["1h30m", 5_400_000],
    ["7d", 604_800_000],
    ["1m500ms", 60_500],
  ] as const)("%s is %d ms", ([text, ms]) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test.for(["", "10", "h", "1x", "1 h", "-5s", "5s!", "1h 30m"])("refuses %j", (text) => {
    expect(() => parseDuration(text)).toThrow("is not a duration");
  });
});

describe("parseSize", () => {
  test.for([
    ["4096", 4096],
    ["128Mi", 134_217_728],
    ["128MiB", 134_217_728],
    ["1G", 1_000_000_000],
    ["1.5Gi", 1_610_612_736],
    ["2k", 2000],
  ] as const)("%s is %d bytes", ([text, bytes]) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.for(["", "Mi", "1 Mi", "1X", "-1", "1mi", "constructor"])("refuses %j", (text) => {
    expect(() => parseSize(text)).toThrow("is not a size");
  });
});

test.for([
  ["0.5", 500],
  ["500m", 500],
  ["2", 2000],
] as const)("%s processors are %d thousandths", ([text, millis]) => {
  expect(parseCpu(text)).toBe(millis);
});

test.for([
  ["1", { gpuCount: 1, gpuType: "" }],
  ["a100:2", { gpuCount: 2, gpuType: "a100" }],
] as const)("%s is a number of GPUs", ([text, gpus]) => {
  expect(parseGpu(text)).toEqual(gpus);
});

test.for([
  ["low", -100],
  ["critical", 1000],
  ["-7", -7],
] as const)("%s is the priority %d", ([text, priority]) => {
  expect(parsePriority(text)).toBe(priority);
});

test.for(["urgent", "1001", "1.5", "", "toString"])("%j is no priority", (text) => {
  expect(() => parsePriority(text)).toThrow("is neither low, normal");
});

test("pairs gather, and a value may hold anything", () => {
  const first = parsePair("A=1");
  expect(parsePair("B=x=y=", first)).toEqual({ A: "1", B: "x=y=" });
  expect(parsePair("C=")).toEqual({ C: "" });
});

test.for(["", "A", "=x"])("%j is no pair", (text) => {
  expect(() => parsePair(text)).toThrow("is not KEY=VALUE");
});

test("exit codes are numbers from 0 to 255", () => {
  expect(parseExitCodes("1, 2,75")).toEqual([1, 2, 75]);
  expect(() => parseExitCodes("1,256")).toThrow(`"256" is not an exit code`);
});
