import type { V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import type { Blame, Cause, Stage } from "#job/failure.ts";
import type { Context, Trouble, TroubleKind } from "./classify.ts";
import { evidenceOf, imageOf, type PodStatus, statusOf, words } from "./classify-pod.ts";

/** What keeps a pod from running that is not over yet; undefined while nothing does. */
export function troubleOf(pod: V1Pod, context: Context): Trouble | undefined {
  const status = statusOf(pod);
  if (status.isNodeLost) return nodeLost(pod, context);
  if (status.worker?.state?.running !== undefined) return undefined;
  if (status.unschedulable !== undefined) return unschedulable(pod, status);
  const stuck = stuckContainer(status);
  const isInit = stuck !== undefined && stuck !== status.worker;
  const image = stuck === undefined ? imageOf(pod) : imageOfContainer(pod, stuck.name);
  const say = { pod, image, isOwn: !isInit && !context.defaultImages.has(image) };
  const waiting = stuck?.state?.waiting;
  const reason = waiting?.reason ?? "";
  const { pullFailure, sandboxFailure, volumeFailure } = context.facts;
  if (pullReasons.has(reason)) {
    return pullTrouble(say, { reason, message: fullest(waiting?.message, pullFailure) });
  }
  const settled = waitingTroubles.get(reason);
  if (settled !== undefined) {
    return settled(say, { reason, message: waiting?.message ?? "" });
  }
  if (pullFailure !== undefined) {
    return pullTrouble(say, { reason: "ErrImagePull", message: pullFailure });
  }
  if (volumeFailure !== undefined) return volume(say, volumeFailure);
  if (sandboxFailure !== undefined) return sandbox(say, sandboxFailure);
  return undefined;
}

interface Say {
  readonly pod: V1Pod;
  readonly image: string;
  /** The image is of the job's choice. */
  readonly isOwn: boolean;
}

interface Said {
  readonly reason: string;
  readonly message: string;
}

const pullReasons: ReadonlySet<string> = new Set([
  "ErrImagePull",
  "ImagePullBackOff",
  "RegistryUnavailable",
  "ImageInspectError",
  "SignatureValidationFailed",
]);

const waitingTroubles: ReadonlyMap<string, (say: Say, said: Said) => Trouble> = new Map([
  ["InvalidImageName", invalidName],
  ["ErrImageNeverPull", neverPulled],
  ["CreateContainerConfigError", configuration],
  ["CreateContainerError", configuration],
  ["RunContainerError", configuration],
  ["PreCreateHookError", configuration],
  ["PreStartHookError", configuration],
]);

function stuckContainer({ init, sidecars, worker }: PodStatus): V1ContainerStatus | undefined {
  const isStuck = ({ state }: V1ContainerStatus): boolean => {
    const reason = state?.waiting?.reason;
    return reason !== undefined && (pullReasons.has(reason) || waitingTroubles.has(reason));
  };
  const stuck = init.find(isStuck);
  if (stuck !== undefined) return stuck;
  const isBlocked = init.some(
    ({ name, state, started }) =>
      state?.waiting !== undefined && !(sidecars.has(name) && started === true),
  );
  return isBlocked ? undefined : worker;
}

function imageOfContainer(pod: V1Pod, name: string): string {
  const all = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
  return all.find((container) => container.name === name)?.image ?? imageOf(pod);
}

function blameOf({ isOwn }: Say): Blame {
  return isOwn ? "user" : "provider";
}

/** After the first failure some clusters say only that they wait; then the event knows why. */
function fullest(message: string | undefined, event: string | undefined): string {
  if (message === undefined || message === "") return event ?? "";
  const isBare = /^Back-off pulling image "[^"]*"$/.test(message);
  if (isBare && event !== undefined) return event;
  return message.replace(/^Back-off pulling image "[^"]*": ErrImagePull: /, "");
}

function unschedulable(pod: V1Pod, { unschedulable: condition }: PodStatus): Trouble {
  const message = condition?.message ?? "";
  const reason = condition?.reason ?? "Unschedulable";
  return trouble(
    { pod, image: imageOf(pod), isOwn: false },
    {
      kind: "unschedulable",
      stage: "scheduling",
      blame: "provider",
      cause: "no_provider",
      summary: "no node can take its pod",
      reason,
      message,
    },
  );
}

function nodeLost(pod: V1Pod, context: Context): Trouble {
  const made = trouble(
    { pod, image: imageOf(pod), isOwn: false },
    {
      kind: "node_lost",
      stage: context.isConnected === false ? "connecting" : "running",
      blame: "node",
      cause: "worker_lost",
      summary: `node ${pod.spec?.nodeName} does not answer`,
      reason: "NodeNotReady",
      message: "its pod is not ready, and no container is said to have ended",
    },
  );
  const userCodeMayHaveRun = context.isConnected !== false;
  return { ...made, failure: { ...made.failure, userCodeMayHaveRun } };
}

/** What the words of a registry or a runtime mean; the first that fits. */
const pullClasses: readonly {
  readonly pattern: RegExp;
  readonly kind: TroubleKind;
  readonly summary: (image: string) => string;
}[] = [
  {
    pattern:
      /\b429\b|toomanyrequests|too many requests|rate limit|\b50[0-9] \w|no such host|timeout|timed out|deadline exceeded|connection (refused|reset)|no route to host|unreachable|server misbehaving|\bEOF\b|tls:|x509|QPSExceeded|temporar/i,
    kind: "registry",
    summary: (image) => `the registry of image ${image} is in trouble`,
  },
  {
    pattern: /no space left on device|disk quota exceeded/i,
    kind: "sandbox",
    summary: (image) => `the node has no room for image ${image}`,
  },
  {
    pattern:
      /unauthorized|authentication required|\b40[13]\b|forbidden|denied|insufficient_scope|authorization failed|no basic auth credentials/i,
    kind: "image_denied",
    summary: (image) => `the registry does not give image ${image} to this cluster`,
  },
  {
    pattern:
      /code = NotFound|not found|manifest unknown|name unknown|no match for platform|no matching manifest|\b404\b/i,
    kind: "image_missing",
    summary: (image) => `image ${image} was not found`,
  },
];

function pullTrouble(say: Say, said: Said): Trouble {
  // The image's own name must not decide.
  const text = said.message.replaceAll(say.image, "");
  const found = pullClasses.find(({ pattern }) => pattern.test(text));
  const kind = found?.kind ?? "registry";
  const blame = kind === "registry" ? "provider" : kind === "sandbox" ? "node" : blameOf(say);
  return trouble(say, {
    ...said,
    kind,
    stage: "pulling",
    blame,
    summary: found?.summary(say.image) ?? `image ${say.image} cannot be pulled`,
  });
}

function invalidName(say: Say, said: Said): Trouble {
  const summary = `"${say.image}" is no name of an image`;
  return trouble(say, {
    ...said,
    kind: "image_invalid",
    stage: "pulling",
    blame: blameOf(say),
    summary,
  });
}

function neverPulled(say: Say, said: Said): Trouble {
  const summary = `image ${say.image} is not on the node and must not be pulled`;
  return trouble(say, {
    ...said,
    kind: "image_invalid",
    stage: "pulling",
    blame: blameOf(say),
    summary,
  });
}

function configuration(say: Say, said: Said): Trouble {
  const isRoot = /runAsNonRoot|run as root|non-numeric user/i.test(said.message);
  const missing = /(secret|configmap) "([^"]+)" not found/i.exec(said.message);
  return trouble(say, {
    ...said,
    kind: isRoot ? "security" : "configuration",
    stage: "creating",
    blame: isRoot ? blameOf(say) : "provider",
    summary: isRoot
      ? `image ${say.image} wants to run as root, and workers must not`
      : missing === null
        ? "its container cannot be created"
        : `${missing[1]} ${missing[2]} is missing`,
    more: missing === null ? {} : { missing: `${missing[1]} ${missing[2]}` },
  });
}

function volume(say: Say, message: string): Trouble {
  const missing =
    /(secret|configmap|persistentvolumeclaim) "([^"]+)" not found/i.exec(message) ??
    /object "[^"]*"\/"(?<name>[^"]+)" not registered/.exec(message);
  const name = missing?.groups?.["name"] ?? `${missing?.[1]} ${missing?.[2]}`;
  return trouble(say, {
    kind: "volume",
    stage: "creating",
    blame: "provider",
    reason: "FailedMount",
    message,
    summary: missing === null ? "a volume cannot be mounted" : `${name} is missing`,
    more: missing === null ? {} : { missing: name },
  });
}

function sandbox(say: Say, message: string): Trouble {
  return trouble(say, {
    kind: "sandbox",
    stage: "creating",
    blame: "node",
    reason: "FailedCreatePodSandBox",
    message,
    summary: "the node cannot set up its pod",
  });
}

function trouble(
  { pod, image }: Say,
  seen: Said & {
    readonly kind: TroubleKind;
    readonly stage: Stage;
    readonly blame: Blame;
    readonly cause?: Cause;
    readonly summary: string;
    readonly more?: Readonly<Record<string, string>>;
  },
): Trouble {
  const { kind, stage, blame, reason, message, summary } = seen;
  return {
    kind,
    failure: {
      stage,
      cause: seen.cause ?? "start_failed",
      blame,
      message: message === "" ? summary : `${summary}: ${words(message)}`,
      userCodeMayHaveRun: false,
      evidence: evidenceOf(pod, { image, reason, message, ...seen.more }),
    },
  };
}
