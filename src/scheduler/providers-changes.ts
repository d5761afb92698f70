import { setTimeout as wait } from "node:timers/promises";
import type { Health, Provider } from "#provider/provider.ts";
import type { Logger } from "#telemetry.ts";
import { type CircuitNews, moveCircuit } from "./circuit.ts";
import { type Known, scoreOf } from "./providers-known.ts";
import { learnCheck } from "./providers-learned.ts";
import type { ProviderChange } from "./scheduler.ts";
import type { SchedulerLimits, SchedulerMetrics } from "./start-options.ts";

/** What keeping providers takes. */
export interface Keeping {
  readonly limits: SchedulerLimits;
  readonly now: () => number;
  readonly random: () => number;
  readonly log?: Logger;
  readonly metrics?: SchedulerMetrics | undefined;
  readonly onChange?: ((change: ProviderChange) => void) | undefined;
}

/** Asks a provider how it is, and says what that changes. */
export async function askHealth(options: Keeping, entry: Known): Promise<void> {
  const { metrics, now } = options;
  const { name } = entry.provider;
  const before = performance.now();
  const health = await healthOf(entry.provider, options.limits.healthTimeoutMs);
  const isError = health.state === "unhealthy";
  metrics?.healthChecked(name, { seconds: (performance.now() - before) / 1_000, isError });
  const from = entry.isAsked ? entry.health.state : "unknown";
  entry.health = health;
  entry.isAsked = true;
  const { state, reason } = health;
  const goodness = { healthy: 1, degraded: 0.5, unhealthy: 0 }[state];
  entry.learned = learnCheck(entry.learned, goodness, now());
  if (from !== "unknown" || state !== "healthy") {
    tellChange(options, entry, { kind: "health", from, to: state, reason });
  }
  changeCircuit(options, entry, isError ? { kind: "sick", reason } : { kind: "well" });
  showGauges(options, entry);
}

async function healthOf(provider: Provider, timeoutMs: number): Promise<Health> {
  const late = new AbortController();
  const tooLate = wait(timeoutMs, undefined, { signal: late.signal, ref: false }).then(
    (): Health => ({ state: "unhealthy", reason: "did not say how it is" }),
    (): Health => ({ state: "unhealthy", reason: "was not asked" }),
  );
  try {
    return await Promise.race([provider.health(), tooLate]);
  } catch (error) {
    return { state: "unhealthy", reason: error instanceof Error ? error.message : String(error) };
  } finally {
    late.abort();
  }
}

/** What the news mean for the circuit, if anything. */
export function changeCircuit(options: Keeping, entry: Known, news: CircuitNews): void {
  const before = entry.circuit;
  const { limits, now, random } = options;
  entry.circuit = moveCircuit(before, news, { now: now(), random: random(), limits });
  const { state, reason } = entry.circuit;
  if (state === before.state) return;
  const why = state === "closed" ? "its probes went well" : reason;
  tellChange(options, entry, { kind: "circuit", from: before.state, to: state, reason: why });
  showGauges(options, entry);
}

export function tellChange(
  options: Keeping,
  entry: Known,
  change: Omit<ProviderChange, "provider" | "at">,
): void {
  const { kind, from, to, reason } = change;
  if (from === to) return;
  const provider = entry.provider.name;
  const isWorse = to === "unhealthy" || to === "open";
  const line = { provider, kind, from, to, reason };
  if (isWorse) options.log?.warn(line, "provider changed");
  else options.log?.info(line, "provider changed");
  options.onChange?.({ provider, at: options.now(), ...change });
}

const circuitValues = { closed: 0, half_open: 1, open: 2 } as const;

export function showGauges({ metrics, now }: Keeping, entry: Known): void {
  const { name } = entry.provider;
  metrics?.providerCircuit(name, circuitValues[entry.circuit.state]);
  metrics?.providerHealth(name, scoreOf(entry, now()));
}
