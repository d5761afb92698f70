import { timestamp, type Pod } from "./objects.ts";
import {
  initContainersOf,
  isSidecar,
  specOf,
  type Condition,
  type Container,
  type ContainerState,
  type ContainerStatus,
  type PodStatus,
} from "./kubelet-types.ts";

/** What the kubelet knows of one container. */
export interface ContainerRecord {
  readonly container: Container;
  state: ContainerState;
  lastState: ContainerState;
  restartCount: number;
  containerId: string | undefined;
  /** The image's full name and id, once the container was made. */
  image:
    | { readonly name: string; readonly id: string; readonly uid: number; readonly gid: number }
    | undefined;
}

/** What the kubelet knows of a pod, from which its status is made. */
export interface PodRecord {
  readonly startTime: string;
  readonly hostIp: string;
  podIp: string | undefined;
  hasSandbox: boolean;
  /** Given as `observedGeneration`. */
  generation: number;
  readonly init: readonly ContainerRecord[];
  readonly main: readonly ContainerRecord[];
  /** The phase that the API is told: a final one only once nothing is left of the pod. */
  phase: string;
  /** Why the kubelet ends the pod, told together with the final phase. */
  verdict: { readonly reason: string; readonly message: string } | undefined;
  isVerdictTold: boolean;
  /** What a pod shows that never started is not judged again at its end. */
  keepsConditions: boolean;
}

export function newRecord(pod: Pod, hostIp: string): PodRecord {
  const init = initContainersOf(pod);
  const reason = init.length > 0 ? "PodInitializing" : "ContainerCreating";
  const records = (containers: readonly Container[]): ContainerRecord[] =>
    containers.map((container) => ({
      container,
      state: { waiting: { reason } },
      lastState: {},
      restartCount: 0,
      containerId: undefined,
      image: undefined,
    }));
  return {
    startTime: timestamp(),
    hostIp,
    podIp: undefined,
    hasSandbox: false,
    generation: pod.metadata.generation ?? 1,
    init: records(init),
    main: records(specOf(pod).containers),
    phase: "Pending",
    verdict: undefined,
    isVerdictTold: false,
    keepsConditions: false,
  };
}

/** What the states of the containers amount to, whatever is told so far. */
export function phaseOf(record: PodRecord): string {
  if (record.verdict !== undefined) return "Failed";
  const isInitDone = record.init.every((one) => isInitialized(one) || isSidecar(one.container));
  if (record.init.some(({ container, state }) => !isSidecar(container) && hasFailed(state))) {
    return "Failed";
  }
  if (!isInitDone || record.main.some(({ state }) => state.waiting !== undefined)) return "Pending";
  const sidecars = record.init.filter(({ container }) => isSidecar(container));
  if ([...sidecars, ...record.main].some(({ state }) => state.running !== undefined)) {
    return "Running";
  }
  return record.main.some(({ state }) => hasFailed(state)) ? "Failed" : "Succeeded";
}

/** The status to write in the place of the old one; conditions of others are kept, and come first. */
export function statusOf(pod: Pod, record: PodRecord): PodStatus {
  const old = pod.status ?? {};
  const own = record.keepsConditions ? ownConditions(old) : conditionsOf(record);
  const others = (old.conditions ?? []).filter(({ type }) => !ownTypes.has(type));
  const conditions = [
    ...others,
    ...own.map((condition) => {
      const before = (old.conditions ?? []).find(({ type }) => type === condition.type);
      const kept = before?.status === condition.status ? before.lastTransitionTime : undefined;
      const told: Condition = {
        ...condition,
        observedGeneration: record.generation,
        lastTransitionTime: kept ?? timestamp(),
      };
      return Object.assign(told, { lastProbeTime: null });
    }),
  ];
  return {
    observedGeneration: record.generation,
    phase: record.phase,
    ...(record.isVerdictTold ? record.verdict : {}),
    conditions,
    hostIP: record.hostIp,
    hostIPs: [{ ip: record.hostIp }],
    ...(record.podIp === undefined ? {} : { podIP: record.podIp, podIPs: [{ ip: record.podIp }] }),
    startTime: record.startTime,
    ...(record.init.length === 0
      ? {}
      : { initContainerStatuses: record.init.map((one) => containerStatus(one, true)) }),
    containerStatuses: record.main.map((one) => containerStatus(one, false)),
    ...(old.qosClass === undefined ? {} : { qosClass: old.qosClass }),
    resources: specOf(pod).containers.length === 1 ? resourcesOf(specOf(pod).containers[0]) : {},
  };
}

const ownTypes = new Set([
  "PodReadyToStartContainers",
  "Initialized",
  "Ready",
  "ContainersReady",
  "PodScheduled",
]);

function ownConditions(status: PodStatus): Condition[] {
  return (status.conditions ?? []).filter(({ type }) => ownTypes.has(type));
}

function conditionsOf(record: PodRecord): Condition[] {
  const ready = readiness(record);
  return [
    { type: "PodReadyToStartContainers", status: record.hasSandbox ? "True" : "False" },
    { type: "Initialized", ...initialization(record) },
    { type: "Ready", ...ready },
    { type: "ContainersReady", ...ready },
    { type: "PodScheduled", status: "True" },
  ];
}

type Judgement = Pick<Condition, "status" | "reason" | "message">;

function initialization(record: PodRecord): Judgement {
  if (phaseOf(record) === "Succeeded") return { status: "True", reason: "PodCompleted" };
  if (record.main.some(({ containerId }) => containerId !== undefined)) return { status: "True" };
  const incomplete = record.init.filter((one) => !isInitialized(one));
  if (incomplete.length === 0) return { status: "True" };
  return {
    status: "False",
    reason: "ContainersNotInitialized",
    message: `containers with incomplete status: ${namesOf(incomplete)}`,
  };
}

function readiness(record: PodRecord): Judgement {
  const phase = phaseOf(record);
  if (phase === "Succeeded") return { status: "False", reason: "PodCompleted" };
  if (phase === "Failed") return { status: "False", reason: "PodFailed" };
  const sidecars = record.init.filter(({ container }) => isSidecar(container));
  const unready = [...sidecars, ...record.main].filter(({ state }) => state.running === undefined);
  if (unready.length === 0) return { status: "True" };
  return {
    status: "False",
    reason: "ContainersNotReady",
    message: `containers with unready status: ${namesOf(unready)}`,
  };
}

function namesOf(records: readonly ContainerRecord[]): string {
  return `[${records.map(({ container }) => container.name).join(" ")}]`;
}

function isInitialized({ container, state }: ContainerRecord): boolean {
  return isSidecar(container) ? state.running !== undefined : state.terminated?.exitCode === 0;
}

function hasFailed(state: ContainerState): boolean {
  return state.terminated !== undefined && state.terminated.exitCode !== 0;
}

function containerStatus(record: ContainerRecord, isInit: boolean): ContainerStatus {
  const { container, state, image, containerId } = record;
  const isRunning = state.running !== undefined;
  const isPlainInit = isInit && !isSidecar(container);
  const ready = isPlainInit ? state.terminated?.exitCode === 0 : isRunning;
  return {
    name: container.name,
    state,
    lastState: record.lastState,
    ready,
    restartCount: record.restartCount,
    image: image?.name ?? container.image ?? "",
    imageID: image?.id ?? "",
    ...(containerId === undefined ? {} : { containerID: containerId }),
    started: isRunning,
    ...(image === undefined
      ? {}
      : {
          resources: resourcesOf(container),
          user: { linux: { uid: image.uid, gid: image.gid, supplementalGroups: [image.gid] } },
        }),
  };
}

function resourcesOf(container: Container | undefined): NonNullable<Container["resources"]> {
  const { limits, requests } = container?.resources ?? {};
  return {
    ...(limits === undefined ? {} : { limits }),
    ...(requests === undefined ? {} : { requests }),
  };
}
