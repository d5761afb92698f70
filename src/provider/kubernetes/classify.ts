import type { V1Pod } from "@kubernetes/client-node";
import type { Failure, Stage } from "#job/failure.ts";
import { endOf } from "./classify-end.ts";
import type { PodFacts } from "./classify-facts.ts";
import { evidenceOf, isDeleting, statusOf } from "./classify-pod.ts";
import { troubleOf } from "./classify-trouble.ts";

export const troubleKinds = [
  "unschedulable",
  "image_missing",
  "image_denied",
  "image_invalid",
  "registry",
  "configuration",
  "security",
  "volume",
  "sandbox",
  "node_lost",
] as const;
/** What can stand between a pod and its agent while the pod still exists. */
export type TroubleKind = (typeof troubleKinds)[number];

/** How long trouble may stand before it is definite. 0: from the start; `Infinity`: only the start deadline ends the wait. */
export type GraceMs = Readonly<Record<TroubleKind, number>>;

export const defaultGraceMs: GraceMs = {
  unschedulable: Infinity,
  image_missing: 10_000,
  image_denied: 30_000,
  image_invalid: 0,
  registry: 300_000,
  configuration: 10_000,
  security: 0,
  volume: 120_000,
  sandbox: 300_000,
  node_lost: Infinity,
};

export interface Trouble {
  readonly kind: TroubleKind;
  readonly failure: Failure;
}

/** What is known of a worker beside its pod. */
export interface Context {
  readonly facts: PodFacts;
  /** Undefined: an earlier server may have seen it. */
  readonly isConnected: boolean | undefined;
  /** Whether its container was ever seen to run. */
  readonly hasRun: boolean;
  /** Images of the operator's choice; what is wrong with them is no user's fault. */
  readonly defaultImages: ReadonlySet<string>;
}

/** What a pod and its events say about its worker. */
export interface Sight {
  /** How far the start has come; undefined once that says nothing new. */
  readonly stage: { readonly stage: Stage; readonly message: string } | undefined;
  readonly trouble: Trouble | undefined;
  /** Somebody is about to end it. */
  readonly stopping: { readonly reason: string; readonly noticeMs: number } | undefined;
  /** The worker's container is certainly over, or will never start. */
  readonly end: { readonly failure: Failure | undefined } | undefined;
}

/** Judges a pod as it is now. Pure; the same pod, facts and context give the same sight. */
export function classify(pod: V1Pod, context: Context): Sight {
  const end = endOf(pod, context);
  if (end !== undefined) {
    return { stage: undefined, trouble: undefined, stopping: undefined, end };
  }
  const stopping = stoppingOf(pod, context.facts);
  // A pod that is being deleted shows its containers as if they were being created again.
  const isEnding = isDeleting(pod);
  return {
    stage: isEnding ? undefined : stageOf(pod, context),
    trouble: isEnding ? undefined : troubleOf(pod, context),
    stopping,
    end: undefined,
  };
}

function stageOf(pod: V1Pod, { facts, isConnected }: Context): Sight["stage"] {
  const node = pod.spec?.nodeName;
  if (isConnected === true) return undefined;
  if (statusOf(pod).worker?.state?.running !== undefined) {
    return { stage: "connecting", message: `its container runs on ${node ?? "a node"}` };
  }
  const running = pod.status?.initContainerStatuses?.find(
    ({ state }) => state?.running !== undefined,
  );
  if (running !== undefined && !statusOf(pod).sidecars.has(running.name)) {
    return { stage: "connecting", message: `init container ${running.name} runs on ${node}` };
  }
  if (facts.pulling !== undefined && !facts.isPulled) {
    return { stage: "pulling", message: `${node ?? "its node"} pulls image ${facts.pulling}` };
  }
  if (node === undefined) return undefined;
  return { stage: "scheduling", message: `its pod is placed on ${node}` };
}

function stoppingOf(pod: V1Pod, facts: PodFacts): Sight["stopping"] {
  const graceMs = (pod.spec?.terminationGracePeriodSeconds ?? 30) * 1000;
  const disruption = statusOf(pod).disruption;
  if (isDeleting(pod)) {
    const noticeMs = (pod.metadata?.deletionGracePeriodSeconds ?? graceMs / 1000) * 1000;
    const reason = disruption?.message ?? disruption?.reason;
    return { reason: reason ?? "somebody deletes its pod", noticeMs };
  }
  if (disruption !== undefined) {
    return { reason: disruption.message ?? disruption.reason ?? "disruption", noticeMs: graceMs };
  }
  if (facts.deadline === undefined) return undefined;
  return { reason: facts.deadline, noticeMs: graceMs };
}

export interface Deletion {
  /** False: it was there, and a later list does not have it. */
  readonly wasSeen: boolean;
}

/** Why a pod is no more of which nothing but its last state is known. */
export function endOfDeleted(
  pod: V1Pod,
  context: Context,
  { wasSeen }: Deletion,
): { readonly failure: Failure | undefined } {
  const end = endOf(pod, context);
  if (end !== undefined) return end;
  const { disruption, isNodeLost } = statusOf(pod);
  const userCodeMayHaveRun = context.hasRun && context.isConnected !== false;
  const stage = context.hasRun ? "running" : "creating";
  const evidence = evidenceOf(pod);
  if (isNodeLost) {
    const message = `its pod was deleted while node ${pod.spec?.nodeName} did not answer`;
    return {
      failure: {
        stage,
        cause: "worker_lost",
        blame: "node",
        message,
        userCodeMayHaveRun,
        evidence,
      },
    };
  }
  const unsaid = wasSeen
    ? { message: "somebody else deleted its pod", reason: "Deleted" }
    : { message: "its pod vanished while it was not watched", reason: "Vanished" };
  return {
    failure: {
      stage,
      cause: "worker_stopped",
      blame: disruption === undefined ? "provider" : "node",
      message: disruption?.message ?? unsaid.message,
      userCodeMayHaveRun,
      evidence: { ...evidence, reason: disruption?.reason ?? unsaid.reason },
    },
  };
}
