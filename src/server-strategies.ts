import { isAbsolute, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Config } from "#config.ts";
import { HodeiError } from "#error.ts";
import { createStrategies, type Strategies } from "#scheduler/strategies.ts";
import { type Strategy, weighted } from "#scheduler/strategy.ts";

/** The strategies of the configuration: those that come along, weights, and modules of the operator's own. Errors: `invalid_argument`. */
export async function openStrategies(config: Config): Promise<Strategies> {
  const own: Record<string, Strategy> = {};
  for (const [name, weights] of Object.entries(config.strategyWeights)) {
    own[name] = weighted(weights);
  }
  for (const [name, path] of Object.entries(config.strategyModules)) {
    own[name] = await load(name, path);
  }
  const { strategy: standard, tenantStrategies: byTenant } = config;
  const { names } = createStrategies({ own });
  for (const [variable, name] of [
    ["HODEI_STRATEGY", standard],
    ...Object.values(byTenant).map((each) => ["HODEI_TENANT_STRATEGIES", each] as const),
  ] as const) {
    if (names.includes(name)) continue;
    const text = `${variable}: ${JSON.stringify(name)} is not one of ${names.join(", ")}`;
    throw new HodeiError("invalid_argument", text);
  }
  return createStrategies({ standard, byTenant, own });
}

/** A module whose default export is a `Strategy`. */
async function load(name: string, path: string): Promise<Strategy> {
  const where = `HODEI_STRATEGY_MODULES: ${name}`;
  const file = isAbsolute(path) ? path : resolve(path);
  let loaded: { readonly default?: unknown };
  try {
    loaded = (await import(pathToFileURL(file).href)) as { readonly default?: unknown };
  } catch (cause) {
    throw new HodeiError("invalid_argument", `${where}: cannot load ${file}`, { cause });
  }
  const strategy = loaded.default;
  if (typeof strategy === "function") return strategy as Strategy;
  throw new HodeiError(
    "invalid_argument",
    `${where}: ${file} has no function as its default export`,
  );
}
