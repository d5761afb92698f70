import type { Demand } from "#store/store.ts";
import { place, type Snapshot } from "#scheduler/place.ts";
import type { ProviderView } from "#scheduler/place-verdicts.ts";
import { createStrategies } from "#scheduler/strategies.ts";
import { classKeyOf, noPreference } from "#worker/class.ts";
import { judge, type Question, type Result, type RunOptions, takeTurns } from "./harness.ts";

export const question: Question = {
  name: "placement",
  asks: "How many jobs are placed in a second, and how does that change with the queue, the providers and the tenants?",
  run,
};

interface Size {
  readonly jobs: number;
  readonly classes: number;
  readonly providers: number;
  readonly tenants: number;
  /** Most workers of one decision. */
  readonly plans: number;
  readonly strategy: string;
}

const plain: Size = {
  jobs: 10_000,
  classes: 50,
  providers: 20,
  tenants: 10,
  plans: 10_000,
  strategy: "balanced",
};
const ms = 500;

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  const cases: Readonly<Record<string, Size>> = {
    "10k_jobs": plain,
    "20k_jobs": { ...plain, jobs: 20_000, plans: 20_000 },
    "40_providers": { ...plain, providers: 40 },
    "100_tenants": { ...plain, tenants: 100 },
    first_available: { ...plain, strategy: "first_available" },
    // What a server does: as many starts as it may begin at once, however long the queue is.
    round_10k: { ...plain, plans: 16 },
    round_1m: { ...plain, plans: 16, jobs: 1_000_000 },
  };
  const samples = await takeTurns(
    Object.entries(cases).map(([name, size]) => ({
      name,
      measure: async () => ({ value: measure(size) }),
    })),
    rounds,
  );
  const line = { bench: "placement", unit: "jobs/s" };
  const against = (name: string, other: string, atLeast: number): Result =>
    judge(samples, { ...line, case: name, against: other, target: { of: "ratio", atLeast } });
  return [
    judge(samples, { ...line, case: "10k_jobs", target: { of: "value", atLeast: 20_000 } }),
    against("20k_jobs", "10k_jobs", 0.7),
    // Each decision weighs each provider.
    against("40_providers", "10k_jobs", 0.35),
    against("100_tenants", "10k_jobs", 0.4),
    judge(samples, { ...line, case: "first_available", against: "10k_jobs" }),
    judge(samples, { ...line, case: "round_10k" }),
    against("round_1m", "round_10k", 0.7),
  ];
}

/** Jobs placed in a second. */
function measure(size: Size): number {
  const snapshot = snapshotOf(size);
  let placed = 0;
  const begin = performance.now();
  do {
    for (const { count } of place(snapshot).placements) placed += count;
  } while (performance.now() - begin < ms);
  return (placed * 1_000) / (performance.now() - begin);
}

function snapshotOf(size: Size): Snapshot {
  return {
    now: 0,
    demand: demandOf(size),
    workers: [],
    silent: new Set(),
    providers: Array.from({ length: size.providers }, (_, at) => providerOf(at, size)),
    warm: [],
    strategies: createStrategies({ standard: size.strategy }),
    turn: 0,
    limits: {
      maxPlans: size.plans,
      slots: 1,
      maxJobs: 1,
      bindsTenant: false,
      weightOf: () => 1,
    },
  };
}

function demandOf({ jobs, classes, tenants }: Size): readonly Demand[] {
  const queued = Math.ceil(jobs / (classes * tenants));
  return Array.from({ length: classes * tenants }, (_, at) => ({
    tenant: `tenant-${at % tenants}`,
    classKey: classKey(Math.floor(at / tenants)),
    priority: at % 3,
    queued,
    waiting: 0,
    oldestAt: at,
  }));
}

function classKey(number: number): string {
  return classKeyOf({
    image: `image-${number}`,
    resources: {
      cpuMillis: 100 * (1 + (number % 8)),
      memoryBytes: 2 ** 28 * (1 + (number % 5)),
      diskBytes: 0,
      gpuCount: 0,
      gpuType: "",
    },
    provider: {
      ...noPreference,
      requiredLabels: number % 4 === 0 ? { zone: `z${number % 2}` } : {},
      preferredRegion: number % 3 === 0 ? "north" : "",
    },
    longestHours: 1,
  });
}

function providerOf(at: number, { jobs, providers }: Size): ProviderView {
  return {
    id: `provider-${at}`,
    name: `provider-${at}`,
    type: at % 2 === 0 ? "kubernetes" : "docker",
    isEnabled: true,
    health: "healthy",
    healthReason: "",
    healthScore: 0.9 + (at % 10) / 100,
    // Enough for all that may run anywhere, so that nothing is decided by room.
    maxWorkers: Math.ceil((4 * jobs) / providers),
    maxWorkersOf: () => Math.ceil((4 * jobs) / providers),
    startEstimateMs: 1_000 * (1 + (at % 7)),
    bindsTenant: false,
    labels: { zone: `z${at % 2}` },
    region: at % 3 === 0 ? "north" : "south",
    architectures: [],
    runtimes: [],
    maxHours: 0,
    pauses: new Map(),
    circuit: { state: "closed", since: 0, reason: "" },
    refusalOf: () => undefined,
    pricePerHour: ({ cpuMillis }) => (cpuMillis * (1 + (at % 4))) / 1_000,
  };
}
