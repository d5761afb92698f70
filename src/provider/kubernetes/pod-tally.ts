import type { V1Pod } from "@kubernetes/client-node";
import { isDeleting } from "./classify-pod.ts";
import { parseQuantity } from "./quantity.ts";

/** The pods of a provider's workers, as its watch sees them. */
export interface PodTally {
  /** How many there are of each phase; one that is being deleted counts as `Terminating`. */
  readonly byPhase: Readonly<Record<string, number>>;
  /** What those ask for that are not over: cores, bytes, pieces. */
  readonly cpuCores: number;
  readonly memoryBytes: number;
  readonly gpus: number;
}

export const podPhases = [
  "Pending",
  "Running",
  "Succeeded",
  "Failed",
  "Unknown",
  "Terminating",
] as const;

export function tallyPods(pods: Iterable<V1Pod>): PodTally {
  const byPhase = Object.fromEntries(podPhases.map((phase) => [phase, 0]));
  const asked = { cpuCores: 0, memoryBytes: 0, gpus: 0 };
  for (const pod of pods) {
    const phase = phaseOf(pod);
    byPhase[phase] = (byPhase[phase] ?? 0) + 1;
    if (phase === "Succeeded" || phase === "Failed") continue;
    for (const { resources } of pod.spec?.containers ?? []) {
      for (const [name, text] of Object.entries(resources?.requests ?? {})) {
        const amount = parseQuantity(text) ?? 0;
        if (name === "cpu") asked.cpuCores += amount;
        else if (name === "memory") asked.memoryBytes += amount;
        else if (isGpu(name)) asked.gpus += amount;
      }
    }
  }
  return { byPhase, ...asked };
}

function phaseOf(pod: V1Pod): (typeof podPhases)[number] {
  const said = pod.status?.phase ?? "Pending";
  if (said === "Succeeded" || said === "Failed") return said;
  if (isDeleting(pod)) return "Terminating";
  return podPhases.find((phase) => phase === said) ?? "Unknown";
}

/** `nvidia.com/gpu`, `amd.com/gpu`, `gpu.intel.com/i915`, `nvidia.com/mig-1g.5gb`. */
function isGpu(resource: string): boolean {
  return /^(?:[a-z.]+\/(?:gpu|mig-.*)|gpu\.intel\.com\/.*)$/.test(resource);
}
