import { workerIdOf } from "#job/id.ts";
import { type Plan, type Snapshot } from "#scheduler/place.ts";
import type { ProviderView } from "#scheduler/place-verdicts.ts";
import { createStrategies } from "#scheduler/strategies.ts";
import type { Demand } from "#store/store.ts";
import { classKeyOf, type WorkerClass, noPreference } from "#worker/class.ts";
import type { Worker } from "#worker/worker.ts";

export const resources = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" };

export function keyOf(wish: Partial<WorkerClass> = {}): string {
  return classKeyOf({
    image: "",
    resources,
    provider: noPreference,
    longestHours: 1,
    ...wish,
  });
}

export const plain = keyOf();
export const other = keyOf({ image: "other" });

export function view(name: string, given: Partial<ProviderView> = {}): ProviderView {
  return {
    id: name,
    name,
    type: "process",
    isEnabled: true,
    health: "healthy",
    healthReason: "",
    healthScore: 1,
    maxWorkers: 4,
    startEstimateMs: 100,
    bindsTenant: false,
    labels: {},
    region: "",
    architectures: [],
    runtimes: [],
    maxHours: 0,
    pauses: new Map(),
    circuit: { state: "closed", since: 0, reason: "" },
    maxWorkersOf: () => given.maxWorkers ?? 4,
    refusalOf: () => undefined,
    pricePerHour: () => 0,
    ...given,
  };
}

export function demand(given: Partial<Demand> = {}): Demand {
  return {
    tenant: "a",
    classKey: plain,
    priority: 0,
    queued: 1,
    waiting: 0,
    oldestAt: 0,
    ...given,
  };
}

export function worker(number: number, given: Partial<Worker> = {}): Worker {
  return {
    id: workerIdOf(number),
    provider: "one",
    classKey: plain,
    state: "ready",
    tenant: undefined,
    forJob: undefined,
    isForJobOnly: false,
    pricePerHour: 0,
    resourceName: "",
    resourceUid: "u",
    slots: 1,
    maxJobs: 1,
    attempts: 0,
    jobs: [],
    plannedAt: 0,
    readyAt: 0,
    endedAt: undefined,
    startDeadline: undefined,
    failure: undefined,
    reason: "",
    hostname: "",
    connection: 0,
    expiresAt: undefined,
    ...given,
  };
}

export function snapshot(given: Partial<Snapshot> = {}): Snapshot {
  return {
    now: 1_000,
    demand: [],
    workers: [],
    silent: new Set(),
    providers: [view("one")],
    warm: [],
    strategies: createStrategies(),
    turn: 0,
    limits: { maxPlans: 100, slots: 1, maxJobs: 1, bindsTenant: false, weightOf: () => 1 },
    ...given,
  };
}

export function countOf(
  plan: Plan,
  of: { readonly classKey?: string; readonly provider?: string } = {},
) {
  return plan.placements
    .filter(
      (placement) =>
        (of.classKey === undefined || placement.classKey === of.classKey) &&
        (of.provider === undefined || placement.provider === of.provider),
    )
    .reduce((sum, placement) => sum + placement.count, 0);
}
