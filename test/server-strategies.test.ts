import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { parseConfig } from "#config.ts";
import { openStrategies } from "#server-strategies.ts";

const candidate = {
  type: "process",
  healthScore: 1,
  workers: 0,
  maxWorkers: 1,
  pricePerHour: 0,
  startEstimateMs: 0,
  labels: {},
};
const two = [
  { ...candidate, name: "first", position: 0, pricePerHour: 2, startEstimateMs: 1 },
  { ...candidate, name: "second", position: 1, pricePerHour: 1, startEstimateMs: 2 },
];
const context = {
  resources: { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" },
  labels: {},
  turn: 0,
};

function open(env: Readonly<Record<string, string>>) {
  return openStrategies(parseConfig(env).config);
}

test("a job's wish comes before its tenant's strategy, and that before the server's", async () => {
  const strategies = await open({
    HODEI_STRATEGY: "fastest_startup",
    HODEI_TENANT_STRATEGIES: '{"ci": "cheap"}',
    HODEI_STRATEGY_WEIGHTS: '{"cheap": {"health": 0, "cost": 1, "startup": 0, "capacity": 0}}',
  });
  const chosen = (wish: string, tenant?: string): string | undefined =>
    strategies.choose(wish, tenant)(two, context)[0]?.name;
  expect(chosen("")).toBe("first");
  expect(chosen("", "other")).toBe("first");
  expect(chosen("", "ci")).toBe("second");
  expect(chosen("fastest_startup", "ci")).toBe("first");
  expect(chosen("gone since the restart", "ci")).toBe("second");
});

test("a strategy of the operator's own comes from a module", async () => {
  const directory = mkdtempSync(join(tmpdir(), "hodei-strategy-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "last.mjs");
  writeFileSync(
    file,
    "export default (all) => all.toReversed().map(({ name }) => ({ name, score: 1, reason: 'last' }));",
  );
  const strategies = await open({
    HODEI_STRATEGY: "last",
    HODEI_STRATEGY_MODULES: JSON.stringify({ last: file }),
  });
  expect(strategies.choose("", undefined)(two, context)[0]?.name).toBe("second");
  const empty = join(directory, "empty.mjs");
  writeFileSync(empty, "export const strategy = 1;");
  const modules = (path: string) => open({ HODEI_STRATEGY_MODULES: JSON.stringify({ own: path }) });
  await expect(modules(empty)).rejects.toThrow(/^HODEI_STRATEGY_MODULES: own: .*default export/);
  await expect(modules(`${file}.gone`)).rejects.toThrow(
    /^HODEI_STRATEGY_MODULES: own: cannot load/,
  );
});

test.each([
  ["HODEI_STRATEGY", { HODEI_STRATEGY: "cheapest" }],
  ["HODEI_TENANT_STRATEGIES", { HODEI_TENANT_STRATEGIES: '{"ci": "cheapest"}' }],
  [
    "HODEI_STRATEGY_WEIGHTS",
    {
      HODEI_STRATEGY_WEIGHTS: '{"mine": {"health": 1, "cost": 1, "startup": 0, "capacity": 0}}',
    },
  ],
])("a wrong %s is named", async (variable, env) => {
  await expect((async () => open(env))()).rejects.toThrow(variable);
});
