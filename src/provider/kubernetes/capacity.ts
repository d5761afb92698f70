import type {
  V1Node,
  V1NodeList,
  V1ResourceQuota,
  V1ResourceQuotaList,
} from "@kubernetes/client-node";
import { every } from "#every.ts";
import type { Resources } from "#job/job.ts";
import type { Capacity } from "#provider/provider.ts";
import type { Logger } from "#telemetry.ts";
import type { KubernetesConfig } from "./config.ts";
import type { Connection } from "./connection.ts";
import { isKubeError } from "./kube-error.ts";
import { resourcesOf } from "./pod-container.ts";
import { parseQuantity } from "./quantity.ts";

const defaultIntervalMs = 30_000;

/** How many workers fit, as last seen. */
export interface CapacityGauge extends AsyncDisposable {
  /** For workers of these resources; of the default size unless given. */
  read(resources?: Resources): Capacity;
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

/** What bounds workers; undefined: it may not be read. */
interface Bounds {
  readonly quotas: readonly V1ResourceQuota[] | undefined;
  readonly nodes: readonly V1Node[] | undefined;
}

/** Sizes of workers for which the answer is remembered until the next look. */
const rememberedSizes = 1_000;
const noWish: Resources = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" };

/**
 * Looks at quotas and nodes now and then. What may not be read bounds nothing. Quotas count where all workers share a namespace; nodes where
 * nothing adds new ones. It is an estimate, as if all workers were of one size; the cluster has the last word.
 */
export function startCapacity(options: CapacityOptions): CapacityGauge {
  const { config, log, countWorkers, intervalMs = defaultIntervalMs } = options;
  let bounds: Bounds = { quotas: undefined, nodes: undefined };
  let workersThen = 0;
  const known = new Map<string, number>();
  const read = (resources: Resources = noWish): Capacity => {
    const { cpuMillis, memoryBytes } = resources;
    const key = `${cpuMillis} ${memoryBytes}`;
    const maxWorkers = known.get(key) ?? measure(config, { bounds, workersThen, resources });
    if (known.size < rememberedSizes) known.set(key, maxWorkers);
    return { maxWorkers };
  };
  const refresh = async (): Promise<void> => {
    try {
      const before = read().maxWorkers;
      workersThen = countWorkers();
      bounds = await look(options);
      known.clear();
      const { maxWorkers } = read();
      if (maxWorkers !== before) log.info({ maxWorkers }, "capacity changed");
    } catch (error) {
      // What was seen before is the best that is known.
      log.debug({ err: error }, "capacity not read");
    }
  };
  const loop = every({ intervalMs, onError: () => undefined }, refresh);
  return { read, refresh, [Symbol.asyncDispose]: () => loop[Symbol.asyncDispose]() };
}

async function look({ connection, config }: CapacityOptions): Promise<Bounds> {
  const [quotas, nodes] = await Promise.all([
    config.dynamicNamespaces
      ? undefined
      : listIfAllowed<V1ResourceQuotaList>(
          connection,
          `/api/v1/namespaces/${config.namespace}/resourcequotas`,
        ),
    listIfAllowed<V1NodeList>(connection, "/api/v1/nodes"),
  ]);
  return { quotas: quotas?.items, nodes: nodes?.items };
}

function measure(
  config: KubernetesConfig,
  seen: { readonly bounds: Bounds; readonly workersThen: number; readonly resources: Resources },
): number {
  const { bounds, workersThen, resources } = seen;
  const { quotas, nodes } = bounds;
  const quotaBound =
    quotas === undefined ? Infinity : quotaRoom(config, quotas, resources) + workersThen;
  const nodeBound = nodes === undefined ? Infinity : nodeRoom(config, nodes, resources);
  // One may always be tried: what is in its way, the cluster itself says best.
  return Math.min(config.maxWorkers, Math.max(1, Math.min(quotaBound, nodeBound)));
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

/** How many more workers of a size the quotas leave room for. */
export function quotaRoom(
  config: KubernetesConfig,
  quotas: readonly V1ResourceQuota[],
  resources: Resources = noWish,
): number {
  const cost = costs(config, resources);
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

/** What a worker takes of a quota. */
function costs(config: KubernetesConfig, resources: Resources): Readonly<Record<string, number>> {
  const { requests = {}, limits = {} } = resourcesOf(config, resources);
  const amount = (quantity: string | undefined): number => parseQuantity(quantity ?? "0") ?? 0;
  return {
    pods: 1,
    "count/pods": 1,
    cpu: amount(requests["cpu"]),
    "requests.cpu": amount(requests["cpu"]),
    memory: amount(requests["memory"]),
    "requests.memory": amount(requests["memory"]),
    "limits.cpu": amount(limits["cpu"]),
    "limits.memory": amount(limits["memory"]),
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

/** How many workers of a size the nodes could hold, were they empty. */
export function nodeRoom(
  config: KubernetesConfig,
  nodes: readonly V1Node[],
  resources: Resources = noWish,
): number {
  const isGrowing = nodes.some(({ metadata }) =>
    growing.some((label) => metadata?.labels?.[label] !== undefined),
  );
  if (isGrowing || nodes.length === 0) return Infinity;
  const cost = costs(config, resources);
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
