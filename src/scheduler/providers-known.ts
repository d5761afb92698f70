import type { WorkerId } from "#job/id.ts";
import type { Resources } from "#job/job.ts";
import type { Health, Provider, ProviderCapabilities } from "#provider/provider.ts";
import type { WorkerClass } from "#worker/class.ts";
import type { Worker } from "#worker/worker.ts";
import { type Circuit, closedCircuit } from "./circuit.ts";
import type { Pause, ProviderView } from "./place-verdicts.ts";
import { healthScore, type Learned, nothingLearned, startEstimate } from "./providers-learned.ts";
import type { ProviderSettings, ProviderStatus, UnitPrices } from "./scheduler.ts";
import { leastHealth } from "./strategy.ts";

/** A provider with what is said of it and what this server has learned of it. */
export interface Known {
  readonly provider: Provider;
  settings: ProviderSettings;
  health: Health;
  /** Whether it was ever asked how it is. */
  isAsked: boolean;
  circuit: Circuit;
  learned: Learned;
  readonly pauses: Map<string, Pause & { readonly failures: number }>;
  /** Live workers whose start-up time was learned, and those whose start was judged. */
  readonly timed: Set<WorkerId>;
  /** Start-up times of workers that called back before were learned by an earlier server. */
  timedUntil: number;
  readonly judged: Set<WorkerId>;
}

export function newlyKnown(provider: Provider, settings: ProviderSettings, now: number): Known {
  return {
    provider,
    settings,
    health: { state: "unhealthy", reason: "has not answered yet" },
    isAsked: false,
    circuit: closedCircuit(now),
    learned: nothingLearned,
    pauses: new Map(),
    timed: new Set(),
    timedUntil: -Infinity,
    judged: new Set(),
  };
}

export function viewOf(entry: Known, now: number): ProviderView {
  const { provider, settings, health, circuit } = entry;
  const prices = settings.pricePerHour;
  return {
    id: settings.id ?? provider.name,
    name: provider.name,
    type: provider.type,
    isEnabled: settings.isEnabled,
    health: health.state,
    healthReason: health.reason,
    // What may be used at all is kept from use by its health and its circuit alone, so that it gets its chance to be well again.
    healthScore: Math.max(leastHealth, scoreOf(entry, now)),
    maxWorkers: maxWorkersOf(entry),
    maxWorkersOf: (workerClass) => maxWorkersOf(entry, workerClass),
    startEstimateMs: estimateOf(entry, now),
    bindsTenant: provider.capabilities.bindsTenant,
    labels: settings.labels,
    region: settings.region,
    architectures: settings.architectures,
    runtimes: settings.runtimes,
    maxHours: settings.maxHours,
    pauses: new Map(entry.pauses),
    circuit,
    refusalOf: (workerClass) => provider.refusalOf(workerClass),
    pricePerHour: (resources) =>
      prices === undefined ? provider.pricePerHour(resources) : priceOf(resources, prices),
  };
}

export function statusOf(entry: Known, workers: readonly Worker[], now: number): ProviderStatus {
  const { provider, settings, health, circuit } = entry;
  return {
    id: settings.id ?? provider.name,
    name: provider.name,
    type: provider.type,
    isEnabled: settings.isEnabled,
    priority: settings.priority,
    health: health.state,
    reason: health.reason,
    maxWorkers: maxWorkersOf(entry),
    workers: workers.filter((worker) => worker.provider === provider.name).length,
    capabilities: capabilityNames(provider.capabilities),
    circuit: circuit.state,
    circuitReason: circuit.reason,
    healthScore: scoreOf(entry, now),
    startEstimateMs: estimateOf(entry, now),
    settings,
  };
}

/** From 0 (sick) to 1 (well); a provider that says it is sick is. */
export function scoreOf({ provider, health, learned }: Known, now: number): number {
  if (health.state === "unhealthy") return 0;
  return healthScore(learned, { now, expectedMs: provider.startEstimateMs() });
}

function estimateOf({ provider, learned }: Known, now: number): number {
  return Math.round(startEstimate(learned, { now, expectedMs: provider.startEstimateMs() }));
}

function maxWorkersOf({ provider, settings }: Known, workerClass?: WorkerClass): number {
  return Math.min(provider.capacity(workerClass).maxWorkers, settings.maxWorkers ?? Infinity);
}

const gib = 2 ** 30;

function priceOf(resources: Resources, prices: UnitPrices): number {
  return (
    (resources.cpuMillis / 1_000) * prices.cpuCore +
    (resources.memoryBytes / gib) * prices.memoryGib +
    resources.gpuCount * prices.gpu
  );
}

function capabilityNames(capabilities: ProviderCapabilities): readonly string[] {
  return Object.entries(capabilities)
    .filter(([, isThere]) => isThere === true)
    .map(([name]) => name);
}
