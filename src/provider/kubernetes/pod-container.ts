import type { V1Container, V1EnvVar, V1ResourceRequirements } from "@kubernetes/client-node";
import type { Resources } from "#job/job.ts";
import type { WorkerSpec } from "#provider/provider.ts";
import { workerContainer } from "./classify-pod.ts";
import type { KubernetesConfig } from "./config.ts";
import { gpuRequestOf } from "./gpu.ts";
import { containerSecurityOf } from "./pod-security.ts";
import { agentDiskBytes, type Mounted, paths } from "./pod-volumes.ts";
import { formatBytes, formatMillis } from "./quantity.ts";

/** The container that the agent runs in. */
export function workerContainerOf(
  config: KubernetesConfig,
  spec: WorkerSpec,
  how: { readonly mounted: Mounted; readonly env: Readonly<Record<string, string>> },
): V1Container {
  const { image, resources } = spec.workerClass;
  return {
    name: workerContainer,
    image: image === "" ? config.image : image,
    imagePullPolicy: config.imagePullPolicy,
    env: envOf(config, spec, how.env),
    resources: resourcesOf(config, resources),
    volumeMounts: [...how.mounted.worker, ...how.mounted.scratch],
    securityContext: containerSecurityOf(config),
    // What the agent prints last tells why it died, where it wrote nothing there itself.
    terminationMessagePolicy: "FallbackToLogsOnError",
  };
}

/**
 * What a job asks for is requested and is the limit, so that it gets that and no more; what it does not ask for is as configured. Memory is the
 * job's and the agent's allowance. The limit of processors is at least the agent's allowance: under less it takes seconds to start.
 */
export function resourcesOf(
  config: KubernetesConfig,
  { cpuMillis, memoryBytes, diskBytes, gpuCount, gpuType }: Resources,
): V1ResourceRequirements {
  const cpuLimit = formatMillis(Math.max(cpuMillis, config.agentCpuMillis));
  const memory = memoryBytes > 0 ? formatBytes(memoryBytes + config.agentMemoryBytes) : undefined;
  const gpu = gpuRequestOf(gpuCount, gpuType);
  const exact: Record<string, string> = {
    ...(diskBytes > 0 ? { "ephemeral-storage": formatBytes(diskBytes + agentDiskBytes) } : {}),
    ...(gpu === undefined ? {} : { [gpu.resource]: String(gpu.count) }),
  };
  return {
    requests: {
      cpu: cpuMillis > 0 ? formatMillis(cpuMillis) : config.defaultCpuRequest,
      memory: memory ?? config.defaultMemoryRequest,
      ...exact,
    },
    limits: {
      cpu: cpuMillis > 0 ? cpuLimit : config.defaultCpuLimit,
      memory: memory ?? config.defaultMemoryLimit,
      ...exact,
    },
  };
}

/** Nothing secret: whoever may read the pod reads this. */
function envOf(
  config: KubernetesConfig,
  spec: WorkerSpec,
  more: Readonly<Record<string, string>>,
): V1EnvVar[] {
  const env: Record<string, string> = {
    HOME: paths.work,
    ...more,
    HODEI_WORKER_ID: spec.workerId,
    HODEI_SERVER_ADDRESS: spec.serverAddress,
    HODEI_AGENT_WORK_DIR: paths.work,
    HODEI_AGENT_SLOTS: String(spec.slots),
    HODEI_DISCONNECT_TOLERANCE_MS: String(spec.disconnectToleranceMs),
    HODEI_AGENT_STOP_GRACE_MS: String(stopGraceMs(config.terminationGraceSeconds)),
    ...(config.attestation
      ? { HODEI_ATTESTATION_FILE: paths.attestation }
      : { HODEI_OTP_FILE: paths.otp }),
    ...(spec.serverCa === undefined ? {} : { HODEI_CA_CERT_PATH: paths.ca }),
  };
  return Object.entries(env).map(([name, value]) => ({ name, value: literal(value) }));
}

/** What the job gets of the pod's grace: the agent reports in the rest of it, for which 10 seconds are enough. */
function stopGraceMs(terminationGraceSeconds: number): number {
  return Math.max(terminationGraceSeconds / 2, terminationGraceSeconds - 10) * 1_000;
}

/** The kubelet would read `$(NAME)` as a reference. */
function literal(value: string): string {
  return value.replace(/\$(?=[$(])/g, "$$$$");
}
