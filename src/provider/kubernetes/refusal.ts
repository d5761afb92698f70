import type { WorkerClass } from "#worker/class.ts";
import type { KubernetesConfig } from "./config.ts";
import { resourcesOf } from "./pod-container.ts";
import { parseQuantity } from "./quantity.ts";

/** Why no pod of that class can ever be made in our namespaces: one alone would be more than the whole quota. */
export function refusalOf(
  config: KubernetesConfig,
  { resources }: WorkerClass,
): string | undefined {
  if (!config.quota.isEnabled) return undefined;
  const { requests = {}, limits = {} } = resourcesOf(config, resources);
  const { hard } = config.quota;
  for (const [kind, wanted] of Object.entries({ requests, limits })) {
    for (const [resource, quantity] of Object.entries(wanted)) {
      const most =
        hard[`${kind}.${resource}`] ?? (kind === "requests" ? hard[resource] : undefined);
      if (most === undefined) continue;
      if ((parseQuantity(quantity) ?? 0) > (parseQuantity(most) ?? Infinity)) {
        return `${kind}.${resource} of ${quantity} is more than the quota of a namespace, ${most}`;
      }
    }
  }
  return undefined;
}
