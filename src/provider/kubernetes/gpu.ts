/** How a cluster offers the GPUs that a job wants. */
export interface GpuRequest {
  /** The extended resource that the vendor's device plugin registers; also the key of the taint on its nodes. */
  readonly resource: string;
  readonly count: number;
  /** For the node selector; empty: any. */
  readonly model: string;
}

/** The first that fits counts. */
const families = [
  { name: "nvidia", resource: "nvidia.com/gpu" },
  { name: "amd", resource: "amd.com/gpu" },
  { name: "intel-i915", resource: "gpu.intel.com/i915" },
  { name: "intel-xe", resource: "gpu.intel.com/xe" },
  { name: "intel", resource: "gpu.intel.com/xe" },
] as const;

/**
 * What a job's wish for GPUs means; undefined when it wants none. A type is a vendor (`nvidia`), a vendor and a model (`amd-mi100`), a model alone
 * (`h100`: NVIDIA's), a resource by its name (`nvidia.com/mig-1g.5gb`), or empty: any of NVIDIA's.
 */
export function gpuRequestOf(count: number, type: string): GpuRequest | undefined {
  if (count <= 0) return undefined;
  if (type.includes("/")) return { resource: type, count, model: "" };
  const wanted = type.toLowerCase();
  const family = families.find(({ name }) => wanted === name || wanted.startsWith(`${name}-`));
  const isFamilyOnly = wanted === family?.name;
  return { resource: family?.resource ?? "nvidia.com/gpu", count, model: isFamilyOnly ? "" : type };
}
