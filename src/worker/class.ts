import type { JobSpec, Resources } from "#job/job.ts";

/** What a worker must be so that it can run a job. Jobs of one class can run on the same workers. */
export interface WorkerClass {
  readonly image: string;
  readonly resources: Resources;
  readonly preferredProvider: string;
  readonly isProviderStrict: boolean;
}

/** The class of a job. */
export function classOf(spec: Pick<JobSpec, "image" | "resources" | "provider">): WorkerClass {
  return {
    image: spec.image,
    resources: spec.resources,
    preferredProvider: spec.provider?.name ?? "",
    isProviderStrict: spec.provider?.isStrict ?? false,
  };
}

/** The class as text: equal classes have equal keys, and the key says everything. */
export function classKeyOf(workerClass: WorkerClass): string {
  const { image, resources: r, preferredProvider, isProviderStrict } = workerClass;
  return JSON.stringify([
    image,
    r.cpuMillis,
    r.memoryBytes,
    r.diskBytes,
    r.gpuCount,
    r.gpuType,
    preferredProvider,
    isProviderStrict,
  ]);
}

/** The class of a key that `classKeyOf` made. */
export function parseClassKey(key: string): WorkerClass {
  const [
    image,
    cpuMillis,
    memoryBytes,
    diskBytes,
    gpuCount,
    gpuType,
    preferredProvider,
    isProviderStrict,
  ] = JSON.parse(key) as [string, number, number, number, number, string, string, boolean];
  return {
    image,
    resources: { cpuMillis, memoryBytes, diskBytes, gpuCount, gpuType },
    preferredProvider,
    isProviderStrict,
  };
}
