import { setTimeout as wait } from "node:timers/promises";
import type { Failure } from "#job/failure.ts";
import type { Health, Provider, ProviderCapabilities } from "#provider/provider.ts";
import type { Worker } from "#worker/worker.ts";
import type { Pause, ProviderView } from "./place-verdicts.ts";
import type { ProviderStatus } from "./scheduler.ts";
import type { SchedulerLimits } from "./start-options.ts";

/** The configured providers with what this server has learned of them. */
export interface Providers {
  readonly all: readonly Provider[];
  find(name: string): Provider | undefined;
  /** Asks every provider how it is; one that fails to answer is unhealthy. */
  refresh(): Promise<void>;
  view(): readonly ProviderView[];
  status(workers: readonly Worker[]): readonly ProviderStatus[];
  /** A start failed: the provider gets no worker of the class for a pause that grows. */
  startFailed(start: { readonly provider: string; readonly classKey: string }, why: Failure): void;
  startSucceeded(start: { readonly provider: string; readonly classKey: string }): void;
}

interface Known {
  readonly provider: Provider;
  health: Health;
  /** Part of the starts that went well; the newest weigh most. */
  successRatio: number;
  readonly pauses: Map<string, Pause & { readonly failures: number }>;
}

export function createProviders(options: {
  readonly providers: readonly Provider[];
  readonly limits: SchedulerLimits;
  readonly now: () => number;
  readonly random: () => number;
}): Providers {
  const { limits, now } = options;
  const known = new Map<string, Known>(
    options.providers.map((provider) => [
      provider.name,
      {
        provider,
        health: { state: "unhealthy", reason: "has not answered yet" },
        successRatio: 1,
        pauses: new Map(),
      },
    ]),
  );
  return {
    all: options.providers,
    find: (name) => known.get(name)?.provider,
    async refresh() {
      await Promise.all(
        [...known.values()].map(async (entry) => {
          entry.health = await healthOf(entry.provider, limits.healthTimeoutMs);
        }),
      );
    },
    view: () => [...known.values()].map((entry) => viewOf(entry)),
    status: (workers) => [...known.values()].map((entry) => statusOf(entry, workers)),
    startFailed({ provider, classKey }, why) {
      const entry = known.get(provider);
      if (entry === undefined) return;
      forgetOld(entry.pauses, now() - limits.maxStartBackoffMs);
      const failures = (entry.pauses.get(classKey)?.failures ?? 0) + 1;
      const pauseMs = Math.min(
        limits.maxStartBackoffMs,
        limits.startBackoffMs * 2 ** (failures - 1),
      );
      const until = now() + pauseMs * (0.5 + options.random() / 2);
      entry.pauses.set(classKey, { failures, until, reason: why.message });
      entry.successRatio *= 0.8;
    },
    startSucceeded({ provider, classKey }) {
      const entry = known.get(provider);
      if (entry === undefined) return;
      entry.pauses.delete(classKey);
      entry.successRatio = entry.successRatio * 0.8 + 0.2;
    },
  };
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

function viewOf(entry: Known): ProviderView {
  const { provider, health } = entry;
  const ofState = { healthy: 1, degraded: 0.6, unhealthy: 0 }[health.state];
  return {
    name: provider.name,
    type: provider.type,
    health: health.state,
    healthReason: health.reason,
    healthScore: ofState * (0.5 + entry.successRatio / 2),
    maxWorkers: provider.capacity().maxWorkers,
    startEstimateMs: provider.startEstimateMs(),
    bindsTenant: provider.capabilities.bindsTenant,
    labels: {},
    pauses: new Map(entry.pauses),
    refusalOf: (workerClass) => provider.refusalOf(workerClass),
    pricePerHour: (resources) => provider.pricePerHour(resources),
  };
}

function statusOf({ provider, health }: Known, workers: readonly Worker[]): ProviderStatus {
  return {
    name: provider.name,
    type: provider.type,
    health: health.state,
    reason: health.reason,
    maxWorkers: provider.capacity().maxWorkers,
    workers: workers.filter((worker) => worker.provider === provider.name).length,
    capabilities: capabilityNames(provider.capabilities),
  };
}

function capabilityNames(capabilities: ProviderCapabilities): readonly string[] {
  return Object.entries(capabilities)
    .filter(([, isThere]) => isThere === true)
    .map(([name]) => name);
}

/** A class that failed long ago starts afresh, so that the memory stays bounded. */
function forgetOld(pauses: Known["pauses"], before: number): void {
  for (const [classKey, pause] of pauses) if (pause.until < before) pauses.delete(classKey);
}
