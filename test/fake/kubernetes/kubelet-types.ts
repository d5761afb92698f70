import type * as models from "@kubernetes/client-node";

import type { Pod, Wire } from "./objects.ts";

export type Container = Wire<models.V1Container>;
export type ContainerState = Wire<models.V1ContainerState>;
export type ContainerStatus = Wire<models.V1ContainerStatus>;
export type Condition = Wire<models.V1PodCondition>;
export type PodSpec = Wire<models.V1PodSpec>;
export type PodStatus = Wire<models.V1PodStatus>;
export type Volume = Wire<models.V1Volume>;
export type Toleration = Wire<models.V1Toleration>;
export type Taint = Wire<models.V1Taint>;

/** Which object is meant, as the storage wants it. */
export interface Where {
  readonly name: string;
  readonly namespace: string;
}

export function whereOf(pod: Pod): Where {
  return { name: pod.metadata.name, namespace: pod.metadata.namespace ?? "" };
}

/** A stored pod always has a spec. */
export function specOf(pod: Pod): PodSpec {
  return pod.spec ?? { containers: [] };
}

export function initContainersOf(pod: Pod): readonly Container[] {
  return specOf(pod).initContainers ?? [];
}

/** An init container that keeps running beside the others. */
export function isSidecar(container: Container): boolean {
  return container.restartPolicy === "Always";
}

export function isFinal(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

/** Who runs a container, as far as its spec says. */
export function userOf(pod: Pod, container: Container): { uid?: number; gid?: number } {
  const { runAsUser, runAsGroup } = {
    ...specOf(pod).securityContext,
    ...container.securityContext,
  };
  return {
    ...(runAsUser === undefined ? {} : { uid: runAsUser }),
    ...(runAsGroup === undefined ? {} : { gid: runAsGroup }),
  };
}
