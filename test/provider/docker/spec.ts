import type { WorkerId } from "#job/id.ts";
import type { Resources } from "#job/job.ts";
import type { WorkerSpec } from "#provider/provider.ts";
import { noPreference } from "#worker/class.ts";

const nothing = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" };

/** A worker that wishes nothing but what is given. */
export function specOf(
  workerId: WorkerId,
  given: Partial<WorkerSpec> & {
    readonly image?: string;
    readonly resources?: Partial<Resources>;
  } = {},
): WorkerSpec {
  const { image = "", resources = {}, ...rest } = given;
  return {
    workerId,
    workerClass: {
      image,
      resources: { ...nothing, ...resources },
      provider: noPreference,
      longestHours: 1,
    },
    tenant: undefined,
    otp: "otp-that-nobody-may-read",
    serverAddress: "127.0.0.1:1",
    serverCa: undefined,
    slots: 1,
    labels: {},
    annotations: {},
    maxLifetimeMs: undefined,
    disconnectToleranceMs: 60_000,
    ...rest,
  };
}
