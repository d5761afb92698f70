import { type KubernetesConfig, defaultsOf } from "#provider/kubernetes/config.ts";
import type { PodPlace } from "#provider/kubernetes/pod.ts";
import type { WorkerSpec } from "#provider/provider.ts";
import { workerIdOf } from "#job/id.ts";
import { noPreference } from "#worker/class.ts";

const noResources = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" };

/** A worker as the scheduler asks for it. */
export function workerSpec(
  change: Partial<WorkerSpec> & {
    readonly image?: string;
    readonly resources?: Partial<typeof noResources>;
  } = {},
): WorkerSpec {
  const { image = "", resources, ...rest } = change;
  return {
    workerId: workerIdOf(1_000_000),
    workerClass: {
      image,
      resources: { ...noResources, ...resources },
      provider: noPreference,
      longestHours: 1,
    },
    tenant: undefined,
    otp: "otp-that-nobody-may-read-in-a-pod-spec",
    serverAddress: "hodei-server.hodei-system.svc.cluster.local:50051",
    serverCa: "-----BEGIN CERTIFICATE-----\n",
    slots: 1,
    labels: {},
    annotations: {},
    maxLifetimeMs: 4_000_500,
    disconnectToleranceMs: 600_000,
    ...rest,
  };
}

export const place: PodPlace = {
  namespace: "hodei-jobs-workers",
  instanceId: "server",
  provider: "kubernetes",
  env: { HODEI_LOG_LEVEL: "info" },
};

export function configWith(change: Partial<KubernetesConfig> = {}): KubernetesConfig {
  return { ...defaultsOf(change.names ?? "standard"), ...change };
}
