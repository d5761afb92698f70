import type { Resources } from "#job/job.ts";
import type { KubernetesConfig } from "./config.ts";
import { parseBytes, parseMillis } from "./quantity.ts";

const gib = 2 ** 30;

/** Cost of an hour of a pod: of what it requests, since that is what it keeps from others. */
export function pricePerHour(
  config: Pick<KubernetesConfig, "price" | "defaultCpuRequest" | "defaultMemoryRequest">,
  resources: Resources,
): number {
  const { price, defaultCpuRequest, defaultMemoryRequest } = config;
  const millis = resources.cpuMillis || (parseMillis(defaultCpuRequest) ?? 0);
  const bytes = resources.memoryBytes || (parseBytes(defaultMemoryRequest) ?? 0);
  return (
    (millis / 1000) * price.cpuCore +
    (bytes / gib) * price.memoryGib +
    resources.gpuCount * price.gpu
  );
}
