import { recordDecision } from "./kubelet-events.ts";
import { isFinal, specOf, whereOf } from "./kubelet-types.ts";
import { timestamp, type Node, type Objects, type Pod } from "./objects.ts";
import { misfitsOf, requestsOf, sum } from "./scheduler-fit.ts";

/** Binds every pod to a node that has room for it, or says in the scheduler's words why none has. */
export function startScheduler(objects: Objects): Disposable {
  const subscription = objects.subscribe(({ resource, type, object, previous }) => {
    if (resource === "pods" && type === "ADDED") placePod(objects, object);
    // Room or nodes may have come: whoever waits is tried again.
    const isRoom = resource === "pods" && (type === "DELETED" || hasJustEnded(object, previous));
    const isNode = resource === "nodes" && type !== "DELETED" && !isHeartbeat(object, previous);
    const isClaim = resource === "persistentvolumeclaims" && type === "ADDED";
    if (!isRoom && !isNode && !isClaim) return;
    for (const pod of objects.list("pods")) placePod(objects, pod);
  });
  for (const pod of objects.list("pods")) placePod(objects, pod);
  return subscription;
}

function placePod(objects: Objects, given: Pod): void {
  const where = whereOf(given);
  const pod = objects.get("pods", where.name, where.namespace);
  if (pod === undefined || pod.metadata.uid !== given.metadata.uid) return;
  if ((specOf(pod).nodeName ?? "") !== "" || pod.metadata.deletionTimestamp !== undefined) return;
  if ((specOf(pod).schedulingGates ?? []).length > 0) return;
  const others = objects.list("pods").filter((one) => !isFinal(one));
  const judged = objects.list("nodes").map((node) => {
    const taken = sum(
      others.filter((one) => specOf(one).nodeName === node.metadata.name).map(requestsOf),
    );
    return { node, taken, misfits: misfitsOf(pod, node, taken) };
  });
  const missing = missingClaim(objects, pod);
  const fitting = judged
    .filter(({ misfits }) => misfits.length === 0)
    .toSorted((one, other) => (one.taken.get("pods") ?? 0) - (other.taken.get("pods") ?? 0));
  const chosen = fitting[0]?.node.metadata.name;
  if (chosen === undefined || missing !== undefined) {
    refuse(objects, pod, missing === undefined ? refusal(judged) : missing(judged.length));
    return;
  }
  objects.mutate("pods", where, (bound) => {
    specOf(bound).nodeName = chosen;
    bound.status = {
      ...bound.status,
      conditions: [
        { type: "PodScheduled", status: "True", lastTransitionTime: timestamp() },
        ...othersOf(bound),
      ],
    };
  });
  recordDecision(objects, pod, {
    type: "Normal",
    reason: "Scheduled",
    message: `Successfully assigned ${where.namespace}/${where.name} to ${chosen}`,
    action: "Binding",
  });
}

function refuse(objects: Objects, pod: Pod, message: string): void {
  const before = (pod.status?.conditions ?? []).find(({ type }) => type === "PodScheduled");
  if (before?.message === message) return;
  recordDecision(objects, pod, {
    type: "Warning",
    reason: "FailedScheduling",
    message,
    action: "Scheduling",
  });
  objects.mutate("pods", whereOf(pod), (refused) => {
    const conditions = [unscheduled(pod, message), ...othersOf(refused)];
    refused.status = { ...refused.status, conditions };
  });
}

interface Judged {
  readonly node: Node;
  readonly misfits: ReturnType<typeof misfitsOf>;
}

/** `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) …. no new claims to deallocate, preemption: …` */
function refusal(judged: readonly Judged[]): string {
  const all = judged.length;
  if (all === 0) return "no nodes available to schedule pods";
  const reasons = counted(judged.flatMap(({ misfits }) => misfits.map(({ reason }) => reason)));
  const helped = judged.map(({ misfits }) =>
    misfits.every(({ isHelpedByPreemption }) => isHelpedByPreemption)
      ? "No preemption victims found for incoming pod"
      : "Preemption is not helpful for scheduling",
  );
  const start = `0/${all} nodes are available:`;
  return `${start} ${reasons}. no new claims to deallocate, preemption: ${start} ${counted(helped)}.`;
}

function counted(reasons: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return [...counts]
    .map(([reason, count]) => `${count} ${reason}`)
    .toSorted()
    .join(", ");
}

/** A claim that does not exist keeps a pod from every node. */
function missingClaim(objects: Objects, pod: Pod): ((nodes: number) => string) | undefined {
  const { namespace } = whereOf(pod);
  const name = (specOf(pod).volumes ?? [])
    .map(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName)
    .find(
      (one) =>
        one !== undefined && objects.get("persistentvolumeclaims", one, namespace) === undefined,
    );
  if (name === undefined) return undefined;
  return (nodes) =>
    `0/${nodes} nodes are available: persistentvolumeclaim "${name}" not found. not found, preemption: 0/${nodes} nodes are available: ${nodes} Preemption is not helpful for scheduling.`;
}

function unscheduled(pod: Pod, message: string) {
  return {
    type: "PodScheduled",
    observedGeneration: pod.metadata.generation ?? 1,
    status: "False",
    lastTransitionTime: timestamp(),
    reason: "Unschedulable",
    message,
  };
}

function othersOf(pod: Pod) {
  return (pod.status?.conditions ?? []).filter(({ type }) => type !== "PodScheduled");
}

function hasJustEnded(pod: Pod, previous: Pod | undefined): boolean {
  return isFinal(pod) && previous !== undefined && !isFinal(previous);
}

function isHeartbeat(node: Node, previous: Node | undefined): boolean {
  if (previous === undefined) return false;
  const facts = ({ spec, status, metadata }: Node): string =>
    JSON.stringify([spec, status?.allocatable, metadata.labels]);
  return facts(node) === facts(previous);
}
