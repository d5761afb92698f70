import type { V1ContainerStatus, V1Pod, V1PodCondition } from "@kubernetes/client-node";

/** The container that the agent runs in. */
export const workerContainer = "worker";

/** The parts of a pod's status that the judgement needs. */
export interface PodStatus {
  readonly worker: V1ContainerStatus | undefined;
  /** Those that must end before the worker's container starts, as far as the status names them. */
  readonly init: readonly V1ContainerStatus[];
  /** Names of init containers that run beside the worker. */
  readonly sidecars: ReadonlySet<string>;
  readonly disruption: V1PodCondition | undefined;
  readonly unschedulable: V1PodCondition | undefined;
  /** The control plane has declared the pod unready though nobody said that a container ended. */
  readonly isNodeLost: boolean;
}

export function statusOf(pod: V1Pod): PodStatus {
  const containers = pod.status?.containerStatuses ?? [];
  const conditions = pod.status?.conditions ?? [];
  const worker = containers.find(({ name }) => name === workerContainer) ?? onlyOne(containers);
  const sidecars = (pod.spec?.initContainers ?? []).filter(
    ({ restartPolicy }) => restartPolicy === "Always",
  );
  const of = (type: string): V1PodCondition | undefined =>
    conditions.find((condition) => condition.type === type);
  const disruption = of("DisruptionTarget");
  const scheduled = of("PodScheduled");
  return {
    worker,
    init: pod.status?.initContainerStatuses ?? [],
    sidecars: new Set(sidecars.map(({ name }) => name)),
    disruption: disruption?.status === "True" ? disruption : undefined,
    unschedulable:
      scheduled?.status === "False" && scheduled.reason !== "SchedulingGated"
        ? scheduled
        : undefined,
    isNodeLost:
      worker?.state?.running !== undefined &&
      ((of("Ready")?.status === "False" &&
        of("Ready")?.reason === undefined &&
        of("ContainersReady")?.status === "True") ||
        of("Ready")?.status === "Unknown" ||
        lostReasons.has(disruption?.reason ?? "")),
  };
}

/** Deletion has begun; what the status says of waiting containers means nothing any more. */
export function isDeleting(pod: V1Pod): boolean {
  return (pod.metadata?.deletionTimestamp ?? undefined) !== undefined;
}

/** Reasons of a disruption whose node did not answer. */
export const lostReasons: ReadonlySet<string> = new Set([
  "DeletionByTaintManager",
  "DeletionByPodGC",
]);

function onlyOne(containers: readonly V1ContainerStatus[]): V1ContainerStatus | undefined {
  return containers.length === 1 ? containers[0] : undefined;
}

/** The image that the worker was to run. */
export function imageOf(pod: V1Pod): string {
  const containers = pod.spec?.containers ?? [];
  return (containers.find(({ name }) => name === workerContainer) ?? containers[0])?.image ?? "";
}

/** What is evidence of any failure of this pod, with more that was seen. */
export function evidenceOf(
  pod: V1Pod,
  more: Readonly<Record<string, string | undefined>> = {},
): Readonly<Record<string, string>> {
  const all = {
    namespace: pod.metadata?.namespace,
    pod: pod.metadata?.name,
    uid: pod.metadata?.uid,
    node: pod.spec?.nodeName,
    image: imageOf(pod),
    ...more,
  };
  return Object.fromEntries(
    Object.entries(all).flatMap(([key, value]) =>
      value === undefined || value === "" ? [] : [[key, words(value)]],
    ),
  );
}

const mostWords = 1000;

/** The cluster's own words on one line, as many as fit a message. */
export function words(text: string): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > mostWords ? `${line.slice(0, mostWords - 1)}…` : line;
}
