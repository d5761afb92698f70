import { setTimeout as delay } from "node:timers/promises";

import { recordEvent } from "./kubelet-events.ts";
import { specOf, whereOf, type Condition } from "./kubelet-types.ts";
import { timestamp, type Node, type Objects, type Pod } from "./objects.ts";
import { tolerates } from "./scheduler-fit.ts";
import type { Timings } from "./timings.ts";

export interface NodeShape {
  readonly name: string;
  readonly cpu?: string;
  readonly memory?: string;
  readonly pods?: string;
  /** `nvidia.com/gpu` and the like. */
  readonly extended?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly taints?: NonNullable<NonNullable<Node["spec"]>["taints"]>;
}

const unreachable = "node.kubernetes.io/unreachable";

/** The node as its kubelet registers it. */
export function registerNode(objects: Objects, shape: NodeShape, hostIp: string): Node {
  const { name, cpu = "8", memory = "32Gi", pods = "110", extended = {} } = shape;
  const amounts = { cpu, "ephemeral-storage": "264212084Ki", memory, pods, ...extended };
  return objects.create("nodes", {
    metadata: {
      name,
      labels: {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        ...shape.labels,
      },
    },
    spec: shape.taints === undefined ? {} : { taints: shape.taints },
    status: {
      capacity: amounts,
      allocatable: amounts,
      conditions: healthy(),
      addresses: [
        { type: "InternalIP", address: hostIp },
        { type: "Hostname", address: name },
      ],
      nodeInfo: { kubeletVersion: "v1.36.2", operatingSystem: "linux", architecture: "amd64" },
    },
  });
}

/** What the control plane does about nodes that it does not hear of. */
export class NodeLife implements Disposable {
  readonly #objects: Objects;
  readonly #timings: Timings;
  readonly #lost = new Map<string, AbortController>();

  constructor(objects: Objects, timings: Timings) {
    this.#objects = objects;
    this.#timings = timings;
  }

  /** The kubelet went silent: its node is unknown after a while, its pods are not ready, and those that do not tolerate it are marked. */
  async noteSilence(name: string): Promise<void> {
    const back = new AbortController();
    this.#lost.get(name)?.abort();
    this.#lost.set(name, back);
    const { signal } = back;
    try {
      await delay(this.#timings.nodeLostMs, undefined, { signal, ref: false });
      this.#condition(name, unknown);
      this.#taint(name, "NoSchedule");
      for (const pod of this.#podsOn(name)) this.#unready(pod);
      this.#taint(name, "NoExecute");
      await Promise.all(this.#podsOn(name).map((pod) => this.#expel(pod, signal)));
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** The kubelet is back; its own news of its pods come first, the node's condition after a while. */
  async noteReturn(name: string): Promise<void> {
    this.#lost.get(name)?.abort();
    const back = new AbortController();
    this.#lost.set(name, back);
    try {
      await delay(this.#timings.nodeBackMs, undefined, { signal: back.signal, ref: false });
      this.#condition(name, healthy);
      for (const effect of ["NoSchedule", "NoExecute"]) {
        this.#objects.mutate("nodes", { name }, (node) => {
          const taints = (node.spec?.taints ?? []).filter(
            (one) => one.key !== unreachable || one.effect !== effect,
          );
          const { taints: _all, ...rest } = node.spec ?? {};
          node.spec = taints.length === 0 ? rest : { ...rest, taints };
        });
      }
    } catch (error) {
      if (!back.signal.aborted) throw error;
    }
  }

  /** The node is taken out of the cluster: nobody will ever tell of its pods again. */
  removeNode(name: string): void {
    this.#lost.get(name)?.abort();
    this.#objects.delete("nodes", { name });
    for (const pod of this.#podsOn(name)) {
      this.#objects.mutate("pods", whereOf(pod), (one) => {
        one.status = { ...one.status, phase: "Failed" };
        addCondition(one, {
          type: "DisruptionTarget",
          status: "True",
          reason: "DeletionByPodGC",
          message: "PodGC: node no longer exists",
        });
      });
      this.#objects.delete("pods", whereOf(pod), { graceSeconds: 0 });
    }
  }

  [Symbol.dispose](): void {
    for (const back of this.#lost.values()) back.abort();
    this.#lost.clear();
  }

  #podsOn(name: string): Pod[] {
    return this.#objects.list("pods").filter((pod) => specOf(pod).nodeName === name);
  }

  #condition(
    name: string,
    conditions: () => NonNullable<NonNullable<Node["status"]>["conditions"]>,
  ): void {
    this.#objects.mutate("nodes", { name }, (node) => {
      node.status = { ...node.status, conditions: conditions() };
    });
  }

  #taint(name: string, effect: string): void {
    this.#objects.mutate("nodes", { name }, (node) => {
      const taints = node.spec?.taints ?? [];
      node.spec = {
        ...node.spec,
        taints: [...taints, { key: unreachable, effect, timeAdded: timestamp() }],
      };
    });
  }

  #unready(pod: Pod): void {
    if ((pod.status?.conditions ?? []).every(({ type }) => type !== "Ready")) return;
    this.#objects.mutate("pods", whereOf(pod), (one) => {
      for (const condition of one.status?.conditions ?? []) {
        if (condition.type !== "Ready" || condition.status === "False") continue;
        condition.status = "False";
        condition.lastTransitionTime = timestamp();
      }
    });
    recordEvent(this.#objects, pod, {
      type: "Warning",
      reason: "NodeNotReady",
      message: "Node is not ready",
      component: "node-controller",
    });
  }

  async #expel(pod: Pod, signal: AbortSignal): Promise<void> {
    const taint = { key: unreachable, effect: "NoExecute" };
    const toleration = (specOf(pod).tolerations ?? []).find((one) => tolerates(one, taint));
    if (toleration !== undefined && toleration.tolerationSeconds === undefined) return;
    const ms = (toleration?.tolerationSeconds ?? 0) * this.#timings.tolerationSecondMs;
    await delay(ms, undefined, { signal, ref: false });
    const where = whereOf(pod);
    const now = this.#objects.get("pods", where.name, where.namespace);
    if (now?.metadata.uid !== pod.metadata.uid || now.metadata.deletionTimestamp !== undefined)
      return;
    recordEvent(this.#objects, pod, {
      type: "Normal",
      reason: "TaintManagerEviction",
      message: `Marking for deletion Pod ${where.namespace}/${where.name}`,
      component: "taint-eviction-controller",
      withUid: false,
    });
    disrupt(this.#objects, now, {
      reason: "DeletionByTaintManager",
      message: "Taint manager: deleting due to NoExecute taint",
      observedGeneration: now.metadata.generation,
    });
  }
}

/** The eviction API: the mark that says why, then the deletion, in the same moment. */
export function evictPod(objects: Objects, pod: Pod, graceSeconds?: number): void {
  const reason = "EvictionByEvictionAPI";
  disrupt(objects, pod, { reason, message: "Eviction API: evicting", graceSeconds });
}

/** The scheduler wants the room for a pod of a higher priority. */
export function preemptPod(objects: Objects, pod: Pod): void {
  const reason = "PreemptionByScheduler";
  disrupt(objects, pod, {
    reason,
    message: "default-scheduler: preempting to accommodate a higher priority pod",
  });
}

function disrupt(
  objects: Objects,
  pod: Pod,
  why: {
    readonly reason: string;
    readonly message: string;
    readonly graceSeconds?: number | undefined;
    readonly observedGeneration?: number | undefined;
  },
): void {
  const { reason, message, graceSeconds, observedGeneration } = why;
  objects.mutate("pods", whereOf(pod), (one) => {
    const generation = observedGeneration === undefined ? {} : { observedGeneration };
    addCondition(one, { type: "DisruptionTarget", ...generation, status: "True", reason, message });
  });
  objects.delete("pods", whereOf(pod), graceSeconds === undefined ? {} : { graceSeconds });
}

function addCondition(pod: Pod, condition: Condition): void {
  const others = (pod.status?.conditions ?? []).filter(({ type }) => type !== condition.type);
  const added = Object.assign(
    { ...condition, lastTransitionTime: timestamp() },
    { lastProbeTime: null },
  );
  pod.status = { ...pod.status, conditions: [...others, added] };
}

const states = [
  ["MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"],
  ["DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
  ["PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"],
  ["Ready", "KubeletReady", "kubelet is posting ready status"],
] as const;

function healthy() {
  const now = timestamp();
  return states.map(([type, reason, message]) => {
    const status = type === "Ready" ? "True" : "False";
    return { type, status, lastHeartbeatTime: now, lastTransitionTime: now, reason, message };
  });
}

function unknown() {
  const now = timestamp();
  return states.map(([type]) => ({
    type,
    status: "Unknown",
    lastHeartbeatTime: now,
    lastTransitionTime: now,
    reason: "NodeStatusUnknown",
    message: "Kubelet stopped posting node status.",
  }));
}
