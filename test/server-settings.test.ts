import { expect, test } from "vitest";
import { specToWire, type SubmitSpec } from "#client/spec.ts";
import { parseConfig } from "#config.ts";
import { specFromWire } from "#rpc/spec.ts";
import { jobDefaults, warmWishes } from "#server-settings.ts";
import { classKeyOf, classOf } from "#worker/class.ts";

const settings = { HODEI_EXECUTION_TIMEOUT_MS: String(20 * 3_600_000) };

/** The class of a job that says nothing of itself but this. */
function classKey(spec: Partial<SubmitSpec> = {}): string {
  const { config } = parseConfig(settings);
  const wire = specToWire({ command: ["true"], ...spec });
  return classKeyOf(classOf(specFromWire(wire, jobDefaults(config))));
}

function wishesOf(...pool: readonly object[]) {
  const { config } = parseConfig({ ...settings, HODEI_WARM_POOL: JSON.stringify(pool) });
  return warmWishes(config);
}

test("a warm worker is of the class of jobs that say nothing, whatever the defaults are", () => {
  const plain = { classKey: classKey(), provider: undefined, tenant: undefined };
  expect(wishesOf({ count: 2 })).toEqual([{ ...plain, count: 2 }]);
});

test("a strict one is of the class of jobs that insist on its provider", () => {
  const insisting = classKey({ provider: { name: "kubernetes", isStrict: true } });
  expect(wishesOf({ count: 1, provider: "kubernetes", strict: true, tenant: "acme" })).toEqual([
    { classKey: insisting, provider: undefined, tenant: "acme", count: 1 },
  ]);
});

test("one that is not strict is of jobs that name no provider, and stays where it is put", () => {
  expect(wishesOf({ count: 1, provider: "docker" })).toMatchObject([
    { classKey: classKey(), provider: "docker" },
  ]);
});
