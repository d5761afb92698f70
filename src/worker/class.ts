import type { JobSpec, ProviderPreference, Resources } from "#job/job.ts";

/** What a worker must be so that it can run a job. Jobs of one class can run on the same workers. */
export interface WorkerClass {
  readonly image: string;
  readonly resources: Resources;
  readonly provider: ProviderPreference;
  /** The job may run for this long, rounded up so that jobs share classes; 0: longer than any bound. */
  readonly longestHours: number;
}

/** Bounds to which the longest time of a job is rounded up. */
const hourBounds = [1, 6, 24, 168] as const;
const hourMs = 3_600_000;

/** The class of a job. */
export function classOf(
  spec: Pick<JobSpec, "image" | "resources" | "provider" | "executionTimeoutMs">,
): WorkerClass {
  const { image, resources, provider = noPreference, executionTimeoutMs } = spec;
  const longestHours = hourBounds.find((hours) => executionTimeoutMs <= hours * hourMs) ?? 0;
  return { image, resources, provider, longestHours };
}

/** A job that runs wherever the strategy says. */
export const noPreference: ProviderPreference = {
  name: "",
  isStrict: false,
  strategy: "",
  requiredLabels: {},
  preferredLabels: {},
  preferredRegion: "",
  allowedRegions: [],
  architecture: "",
  runtimes: [],
};

/** The class as text: equal classes have equal keys, and the key says everything. */
export function classKeyOf({ image, resources: r, provider, longestHours }: WorkerClass): string {
  const { name, isStrict, ...wishes } = provider;
  const size = [r.cpuMillis, r.memoryBytes, r.diskBytes, r.gpuCount, r.gpuType];
  const plain = [image, ...size, name, isStrict];
  const rest = [
    wishes.strategy,
    sorted(wishes.requiredLabels),
    sorted(wishes.preferredLabels),
    wishes.preferredRegion,
    wishes.allowedRegions.toSorted(),
    wishes.architecture,
    longestHours,
    ...(wishes.runtimes.length === 0 ? [] : [wishes.runtimes.toSorted()]),
  ];
  // Most jobs say nothing of this, and their key stays short.
  const key = JSON.stringify(rest);
  return JSON.stringify(key === unsaid ? plain : [...plain, rest]);
}

/** The class of a key that `classKeyOf` made. */
export function parseClassKey(key: string): WorkerClass {
  const parsed = JSON.parse(key) as Stored;
  const [image, cpuMillis, memoryBytes, diskBytes, gpuCount, gpuType, name, isStrict] = parsed;
  const wishes = parsed[8] ?? (JSON.parse(unsaid) as StoredWishes);
  const [strategy, required, preferred, preferredRegion, allowedRegions, architecture] = wishes;
  const [, , , , , , longestHours, runtimes = []] = wishes;
  return {
    image,
    resources: { cpuMillis, memoryBytes, diskBytes, gpuCount, gpuType },
    provider: {
      name,
      isStrict,
      strategy,
      requiredLabels: Object.fromEntries(required),
      preferredLabels: Object.fromEntries(preferred),
      preferredRegion,
      allowedRegions,
      architecture,
      runtimes,
    },
    longestHours,
  };
}

const unsaid = JSON.stringify(["", [], [], "", [], "", 1]);

type Pairs = readonly (readonly [string, string])[];
type StoredWishes = [string, Pairs, Pairs, string, string[], string, number, string[]?];
type Stored = [
  string,
  number,
  number,
  number,
  number,
  string,
  string,
  boolean,
  StoredWishes | undefined,
];

function sorted(labels: Readonly<Record<string, string>>): Pairs {
  return Object.entries(labels).toSorted(([one], [other]) => (one < other ? -1 : 1));
}
