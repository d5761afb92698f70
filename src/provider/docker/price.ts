import type { Resources } from "#job/job.ts";
import type { DockerConfig } from "./config.ts";

/** Cost of an hour of a container: of what it may use. */
export function pricePerHour(
  config: Pick<DockerConfig, "price" | "defaultCpuMillis" | "defaultMemoryBytes">,
  { cpuMillis, memoryBytes, gpuCount }: Resources,
): number {
  const { price, defaultCpuMillis, defaultMemoryBytes } = config;
  return (
    ((cpuMillis || defaultCpuMillis) / 1_000) * price.cpuCore +
    ((memoryBytes || defaultMemoryBytes) / 2 ** 30) * price.memoryGib +
    gpuCount * price.gpu
  );
}
