import type {
  V1Node,
  V1NodeList,
  V1ResourceQuota,
  V1ResourceQuotaList,
} from "@kubernetes/client-node";
import { every } from "#every.ts";
import type { Capacity } from "#provider/provider.ts";
import type { Logger } from "#telemetry.ts";
import type { KubernetesConfig } from "./config.ts";
import type { Connection } from "./connection.ts";
import { isKubeError } from "./kube-error.ts";
import { parseQuantity } from "./quantity.ts";

const defaultIntervalMs = 30_000;

/** How many workers fit, as last seen. */
export interface CapacityGauge extends AsyncDisposable {
  readonly current: Capacity;
  /** Looks now. Never rejects. */
  refresh(): Promise<void>;
}

export interface CapacityOptions {
  readonly connection: Connection;
  readonly config: KubernetesConfig;
  readonly log: Logger;
  /** Workers of ours that quotas count already. */
  readonly countWorkers: () => number;
  readonly intervalMs?: number;
}

/**
 * Looks at quotas and nodes now and then. What may not be read bounds nothing. Quotas count where all workers share a namespace; nodes where
 * nothing adds new ones.
 */
export function startCapacity(options: CapacityOptions): CapacityGauge {
  const { config, log, intervalMs = defaultIntervalMs } = options;
  let current: Capacity = { maxWorkers: config.maxWorkers };
  const refresh = async (): Promise<void> => {
    try {
      const maxWorkers = await measure(options);
      if (maxWorkers !== current.maxWorkers) log.info({ maxWorkers }, "capacity changed");
      current = { maxWorkers };
    } catch (error) {
      // What was seen before is the best that is known.
      log.debug({ err: error }, "capacity not read");
    }
  };
  const loop = every({ intervalMs, onError: () => undefined }, refresh);
  return {
    get current() {
      return current;
    },
    refresh,
    [Symbol.asyncDispose]: () => loop[Symbol.asyncDispose](),
  };
}

async function measure({ connection, config, countWorkers }: CapacityOptions): Promise<number> {
  const [quotas, nodes] = await Promise.all([
    config.dynamicNamespaces
      ? undefined
      : listIfAllowed<V1ResourceQuotaList>(
          connection,
          `/api/v1/namespaces/${config.namespace}/resourcequotas`,
        ),
    listIfAllowed<V1NodeList>(connection, "/api/v1/nodes"),
  ]);
  return Math.max(
    0,
    Math.min(
      config.maxWorkers,
      quotas === undefined ? Infinity : quotaRoom(config, quotas.items) + countWorkers(),
      nodes === undefined ? Infinity : nodeRoom(config, nodes.items),
    ),
  );
}

async function listIfAllowed<List>(
  connection: Connection,
  path: string,
): Promise<List | undefined> {
  try {
    return await connection.request<List>({ method: "GET", path, retry: false });
  } catch (error) {
    if (isKubeError(error, 403) || isKubeError(error, 404)) return undefined;
    throw error;
  }
}

/** How many more workers of the default size the quotas leave room for. */
export function quotaRoom(config: KubernetesConfig, quotas: readonly V1ResourceQuota[]): number {
  const cost = costs(config);
  let room = Infinity;
  for (const { spec, status } of quotas) {
    // A quota for some pods only, such as those of a priority, says nothing of ours.
    if (spec?.scopes !== undefined || spec?.scopeSelector !== undefined) continue;
    for (const [resource, hard] of Object.entries(status?.hard ?? {})) {
      const each = cost[resource];
      if (each === undefined || each === 0) continue;
      const left =
        (parseQuantity(hard) ?? Infinity) - (parseQuantity(status?.used?.[resource] ?? "0") ?? 0);
      room = Math.min(room, Math.max(0, Math.floor(left / each + 1e-9)));
    }
  }
  return room;
}

/** What a worker of the default size takes of a quota. */
function costs(config: KubernetesConfig): Readonly<Record<string, number>> {
  const cpu = parseQuantity(config.defaultCpuRequest) ?? 0;
  const memory = (parseQuantity(config.defaultMemoryRequest) ?? 0) + config.agentMemoryBytes;
  return {
    pods: 1,
    "count/pods": 1,
    cpu,
    "requests.cpu": cpu,
    memory,
    "requests.memory": memory,
    "limits.cpu": parseQuantity(config.defaultCpuLimit) ?? 0,
    "limits.memory": (parseQuantity(config.defaultMemoryLimit) ?? 0) + config.agentMemoryBytes,
  };
}

/** Labels of nodes that come and go by themselves: pods that wait are what makes new ones. */
const growing = [
  "karpenter.sh/nodepool",
  "eks.amazonaws.com/nodegroup",
  "cloud.google.com/gke-nodepool",
  "kubernetes.azure.com/agentpool",
  "doks.digitalocean.com/node-pool",
  "k8s.scaleway.com/pool",
];

/** How many workers of the default size the nodes could hold, were they empty. */
export function nodeRoom(config: KubernetesConfig, nodes: readonly V1Node[]): number {
  const isGrowing = nodes.some(({ metadata }) =>
    growing.some((label) => metadata?.labels?.[label] !== undefined),
  );
  if (isGrowing || nodes.length === 0) return Infinity;
  const cost = costs(config);
  let room = 0;
  for (const node of nodes.filter((one) => takesWorkers(config, one))) {
    const { cpu, memory, pods } = node.status?.allocatable ?? {};
    const fits = (quantity: string | undefined, each: number | undefined): number =>
      each === undefined || each === 0 ? Infinity : (parseQuantity(quantity ?? "") ?? 0) / each;
    const count = Math.min(fits(cpu, cost["cpu"]), fits(memory, cost["memory"]), fits(pods, 1));
    room += Math.floor(count + 1e-9);
  }
  return room;
}

function takesWorkers({ nodeSelector, tolerations }: KubernetesConfig, node: V1Node): boolean {
  const labels = node.metadata?.labels ?? {};
  if (Object.entries(nodeSelector).some(([key, value]) => labels[key] !== value)) return false;
  const taints = node.spec?.taints?.filter(({ effect }) => effect !== "PreferNoSchedule") ?? [];
  // Also a cordoned node and one that is not ready: both are taints.
  return taints.every((taint) =>
    tolerations.some(
      ({ key, operator, value, effect }) =>
        (key === undefined || key === "" || key === taint.key) &&
        (effect === undefined || effect === taint.effect) &&
        (operator === "Exists" || (value ?? "") === (taint.value ?? "")),
    ),
  );
}
