import type { V1Pod } from "@kubernetes/client-node";
import { isWorkerId, type WorkerId } from "#job/id.ts";
import { isDeleting, statusOf } from "./classify-pod.ts";
import { keys } from "./names.ts";

/** What the provider keeps in mind of a pod. */
export interface FoundPod {
  readonly id: WorkerId;
  readonly namespace: string;
  readonly uid: string;
}

/** Whose pod it is; undefined for one that is no worker. */
export function foundIn(pod: V1Pod): FoundPod | undefined {
  const { namespace, uid, labels } = pod.metadata ?? {};
  const id = labels?.[keys.workerId] ?? "";
  if (namespace === undefined || uid === undefined || !isWorkerId(id)) return undefined;
  return { id, namespace, uid };
}

/** Whether nothing of the worker runs any more, and never will. Container states come a second before the phase. */
export function isOver(pod: V1Pod): boolean {
  const { worker, init, sidecars } = statusOf(pod);
  const phase = pod.status?.phase;
  if (phase === "Succeeded" || phase === "Failed") return true;
  const isBroken = init.some(
    ({ name, state }) => !sidecars.has(name) && (state?.terminated?.exitCode ?? 0) !== 0,
  );
  return worker?.state?.terminated !== undefined || isBroken;
}

/** Whether it is over and did not end well. A killed child shows in the reason alone. */
export function hasFailed(pod: V1Pod): boolean {
  if (!isOver(pod)) return false;
  const ended = statusOf(pod).worker?.state?.terminated;
  if (ended === undefined) return true;
  return ended.exitCode !== 0 || ended.reason === "OOMKilled" || pod.status?.phase === "Failed";
}

/** The cluster itself does not know whether it still runs. */
export function isDoubtful(pod: V1Pod, now: number): boolean {
  if (statusOf(pod).isNodeLost) return true;
  if (!isDeleting(pod)) return false;
  const due = timeOf(pod.metadata?.deletionTimestamp);
  return due !== undefined && now > due + overdueMs;
}

/** A kubelet that answers has ended a pod this long after its grace. */
const overdueMs = 30_000;

/**
 * Until when a pod that is over is kept: a failed one for the configured time after its end, any as long as its annotation says, so that
 * somebody can look at it. Milliseconds since 1970.
 */
export function heldUntil(pod: V1Pod, ttlSeconds: number): number {
  const asked = Date.parse(pod.metadata?.annotations?.[keys.holdUntil] ?? "");
  const own = hasFailed(pod) ? (endedAt(pod) ?? 0) + ttlSeconds * 1000 : 0;
  return Math.max(own, Number.isNaN(asked) ? 0 : asked);
}

function endedAt(pod: V1Pod): number | undefined {
  const { worker, init } = statusOf(pod);
  const ends = [worker, ...init].map((status) => timeOf(status?.state?.terminated?.finishedAt));
  const known = ends.filter((at) => at !== undefined);
  return known.length > 0 ? Math.max(...known) : timeOf(pod.metadata?.creationTimestamp);
}

/** The client's models say `Date`; what comes over the wire is text. */
function timeOf(time: Date | string | null | undefined): number | undefined {
  if (time === undefined || time === null) return undefined;
  const at = new Date(time).getTime();
  return Number.isNaN(at) ? undefined : at;
}
