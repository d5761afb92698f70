import type { V1ContainerStateTerminated, V1Pod } from "@kubernetes/client-node";
import type { Blame, Cause, Failure, Stage } from "#job/failure.ts";
import type { Context } from "./classify.ts";
import { evidenceOf, imageOf, isDeleting, lostReasons, statusOf, words } from "./classify-pod.ts";

/**
 * Whether and why the worker of this pod is over, while the pod still exists; undefined while it is not. Container states come a second before the
 * phase does, and exit code 137 alone says nothing: it is also that of containers that never started.
 */
export function endOf(
  pod: V1Pod,
  context: Context,
): { readonly failure: Failure | undefined } | undefined {
  const { worker, init, sidecars } = statusOf(pod);
  const phase = pod.status?.phase;
  const ended = worker?.state?.terminated;
  const broken = init.find(
    ({ name, state }) => !sidecars.has(name) && (state?.terminated?.exitCode ?? 0) !== 0,
  );
  const isOver = ended !== undefined || broken !== undefined;
  if (!isOver && phase !== "Failed" && phase !== "Succeeded") return undefined;
  const hasRun =
    context.hasRun || (ended !== undefined && hasStarted(ended) && ended.reason !== "StartError");
  const say = { pod, ended, context: { ...context, hasRun } };
  return { failure: failureOf(say, broken) };
}

interface Say {
  readonly pod: V1Pod;
  readonly ended: V1ContainerStateTerminated | undefined;
  readonly context: Context;
}

function failureOf(
  say: Say,
  broken:
    | { readonly name: string; readonly state?: { terminated?: V1ContainerStateTerminated } }
    | undefined,
): Failure | undefined {
  const { pod, ended, context } = say;
  const { disruption } = statusOf(pod);
  if (ended?.reason === "OOMKilled") return outOfMemory(say, ended);
  const byCluster = podFailure(say);
  if (byCluster !== undefined) return byCluster;
  if (disruption !== undefined) {
    const isLost = lostReasons.has(disruption.reason ?? "");
    return failure(say, {
      cause: isLost ? "worker_lost" : "worker_stopped",
      blame: "node",
      message: `its pod was ended by the cluster: ${words(disruption.message ?? disruption.reason ?? "")}`,
      reason: disruption.reason,
    });
  }
  if (isDeleting(pod)) {
    return failure(say, {
      cause: "worker_stopped",
      blame: "provider",
      message: "somebody else deleted its pod",
      reason: "Deleted",
    });
  }
  if (broken?.state?.terminated !== undefined)
    return initFailed(say, broken.name, broken.state.terminated);
  if (ended === undefined) return withoutContainer(say);
  if (ended.reason === "ContainerStatusUnknown") return unknownEnd(say);
  if (ended.reason === "StartError" || (ended.exitCode === 128 && !hasStarted(ended))) {
    return cannotStart(say, ended);
  }
  if (context.isConnected === false) return crashOnStart(say, ended);
  return ended.exitCode === 0 ? undefined : died(say, ended);
}

/** The kubelet's own verdict over a whole pod. */
function podFailure(say: Say): Failure | undefined {
  const { pod, context } = say;
  const reason = pod.status?.reason ?? "";
  const message = words(pod.status?.message ?? reason);
  if (reason === "DeadlineExceeded" || context.facts.deadline !== undefined) {
    const text = pod.status?.message ?? context.facts.deadline ?? reason;
    return failure(say, {
      cause: "worker_stopped",
      blame: "system",
      message: `its pod has lived as long as it may: ${words(text)}`,
      reason: "DeadlineExceeded",
    });
  }
  if (pod.status?.phase !== "Failed" || reason === "") return undefined;
  if (reason === "Evicted") {
    // What one pod may use was exceeded by this one; what a node lacks is nobody's fault.
    const isOwn = /exceeds the (total )?limit|usage exceeds/i.test(message);
    return failure(say, {
      cause: "worker_stopped",
      blame: isOwn ? "user" : "node",
      message: `its pod was evicted: ${message}`,
      reason,
    });
  }
  if (stoppedReasons.has(reason)) {
    return failure(say, {
      cause: "worker_stopped",
      blame: "node",
      message: `its pod was stopped: ${message}`,
      reason,
    });
  }
  if (reason === "NodeLost") {
    return failure(say, { cause: "worker_lost", blame: "node", message, reason });
  }
  return failure(say, {
    cause: context.hasRun ? "worker_died" : "start_failed",
    blame: "node",
    message: `the node refused its pod: ${message}`,
    reason,
  });
}

const stoppedReasons: ReadonlySet<string> = new Set([
  "Terminated",
  "NodeShutdown",
  "Shutdown",
  "Preempting",
  "Preempted",
]);

function outOfMemory(say: Say, ended: V1ContainerStateTerminated): Failure {
  const container = statusOf(say.pod).worker?.name;
  const limit = say.pod.spec?.containers.find(({ name }) => name === container)?.resources
    ?.limits?.["memory"];
  const within = limit === undefined ? "" : ` of ${limit}`;
  // The container's reason tells that something in it was killed; only the exit code tells whether that was the agent.
  const isAgent = ended.exitCode === 137;
  return failure(say, {
    cause: "out_of_memory",
    blame: "user",
    message: isAgent
      ? `the worker was killed since its container was out of its memory${within}`
      : `a process in the worker was killed since its container was out of its memory${within}; the agent then ended with exit code ${ended.exitCode}`,
    reason: "OOMKilled",
    more: { ...exitEvidence(ended), killed: isAgent ? "agent" : "child" },
  });
}

function initFailed(say: Say, container: string, ended: V1ContainerStateTerminated): Failure {
  const said = ended.message === undefined ? "" : `: ${words(ended.message)}`;
  const isStartError = ended.reason === "StartError";
  return failure(say, {
    stage: "creating",
    cause: "start_failed",
    blame: "provider",
    message: isStartError
      ? `init container ${container} cannot be started${said}`
      : `init container ${container} ended with exit code ${ended.exitCode}${said}`,
    reason: ended.reason,
    more: { ...exitEvidence(ended), container },
  });
}

function withoutContainer(say: Say): Failure | undefined {
  const { pod, context } = say;
  if (pod.status?.phase === "Succeeded") return undefined;
  return failure(say, {
    cause: context.hasRun ? "worker_died" : "start_failed",
    blame: "node",
    message: `its pod failed${pod.status?.message === undefined ? "" : `: ${words(pod.status.message)}`}`,
    reason: "Failed",
  });
}

function unknownEnd(say: Say): Failure {
  const { hasRun } = say.context;
  return failure(say, {
    cause: hasRun ? "worker_died" : "start_failed",
    blame: "node",
    message: hasRun
      ? "its container is gone from the node, and nobody knows how it ended"
      : "its container never started",
    reason: "ContainerStatusUnknown",
  });
}

function cannotStart(say: Say, ended: V1ContainerStateTerminated): Failure {
  const said = ended.message ?? "";
  const isImage =
    /no such file or directory|not found in \$PATH|permission denied|exec format error/i;
  const blame = isImage.test(said) ? imageBlame(say) : "node";
  return failure(say, {
    stage: "creating",
    cause: "start_failed",
    blame,
    message: `the agent cannot be started in image ${imageOf(say.pod)}: ${words(said)}`,
    reason: ended.reason,
    more: exitEvidence(ended),
  });
}

function crashOnStart(say: Say, ended: V1ContainerStateTerminated): Failure {
  const isImage = ended.exitCode === 126 || ended.exitCode === 127;
  const said = ended.message === undefined ? "" : `: ${words(ended.message)}`;
  return failure(say, {
    stage: "connecting",
    cause: "start_failed",
    blame: isImage ? imageBlame(say) : "provider",
    message: `the agent ended with exit code ${ended.exitCode} before it had connected${said}`,
    reason: ended.reason,
    more: exitEvidence(ended),
  });
}

function died(say: Say, ended: V1ContainerStateTerminated): Failure {
  const said = ended.message === undefined ? "" : `: ${words(ended.message)}`;
  const signal = signalOf(ended);
  return failure(say, {
    cause: "worker_died",
    blame: signal === undefined ? "system" : "node",
    message:
      signal === undefined
        ? `the agent ended with exit code ${ended.exitCode}${said}`
        : `the agent was killed by signal ${signal}, and the cluster does not say by whom${said}`,
    reason: ended.reason,
    more: exitEvidence(ended),
  });
}

function imageBlame({ pod, context }: Say): Blame {
  return context.defaultImages.has(imageOf(pod)) ? "provider" : "user";
}

function failure(
  { pod, context }: Say,
  seen: {
    readonly stage?: Stage;
    readonly cause: Cause;
    readonly blame: Blame;
    readonly message: string;
    readonly reason: string | undefined;
    readonly more?: Readonly<Record<string, string | undefined>>;
  },
): Failure {
  const { hasRun, isConnected } = context;
  const reached = !hasRun ? "creating" : isConnected === false ? "connecting" : "running";
  return {
    stage: seen.stage ?? reached,
    cause: seen.cause,
    blame: seen.blame,
    message: seen.message,
    userCodeMayHaveRun: hasRun && isConnected !== false,
    evidence: evidenceOf(pod, { reason: seen.reason, ...seen.more }),
  };
}

function exitEvidence(ended: V1ContainerStateTerminated): Record<string, string | undefined> {
  const signal = signalOf(ended);
  return {
    exit_code: String(ended.exitCode),
    signal: signal === undefined ? undefined : String(signal),
    message: ended.message,
    container_id: ended.containerID,
  };
}

function signalOf({ exitCode, signal }: V1ContainerStateTerminated): number | undefined {
  if (signal !== undefined && signal !== 0) return signal;
  return exitCode > 128 && exitCode < 160 ? exitCode - 128 : undefined;
}

/** Containers that never started have no time, or that of 1970. */
function hasStarted(ended: V1ContainerStateTerminated): boolean {
  const time = new Date(ended.startedAt ?? 0).getTime();
  return ended.reason !== "ContainerStatusUnknown" && time > 0;
}
