import type { V1Pod } from "@kubernetes/client-node";
import { describe, expect, test } from "vitest";
import type { Failure } from "#job/failure.ts";
import { type Context, classify, endOfDeleted, type Sight } from "#provider/kubernetes/classify.ts";
import { noFacts, type PodFacts, withEvent } from "#provider/kubernetes/classify-facts.ts";
import { eventOf, podOf, readRecording } from "./replay.ts";

interface Seen {
  readonly line: number;
  readonly sight: Sight;
}

/** What is known after each line; the agent connects as soon as its container runs, where told so. */
function replay(name: string, options: { readonly connects?: boolean } = {}): readonly Seen[] {
  let facts: PodFacts = noFacts;
  let pod: V1Pod | undefined;
  let hasRun = false;
  const seen: Seen[] = [];
  for (const recorded of readRecording(name)) {
    const event = eventOf(recorded);
    if (event !== undefined) facts = withEvent(facts, event);
    pod = podOf(recorded) ?? pod;
    if (pod === undefined) continue;
    const worker = pod.status?.containerStatuses?.find(({ name: other }) => other === "worker");
    hasRun ||= worker?.state?.running !== undefined;
    const isConnected = hasRun && options.connects === true;
    const context: Context = { facts, hasRun, isConnected, defaultImages: new Set() };
    const isDeleted = recorded.source === "pods" && recorded.type === "DELETED";
    const sight = classify(pod, context);
    const end = isDeleted ? endOfDeleted(pod, context, { wasSeen: true }) : sight.end;
    seen.push({ line: recorded.line, sight: { ...sight, end } });
  }
  return seen;
}

const troubles = [
  ["pod-unschedulable-cpu", 4, "unschedulable", "provider", "scheduling", "1 Insufficient cpu"],
  ["pod-unschedulable-selector", 4, "unschedulable", "provider", "scheduling", "didn't match"],
  ["pod-image-registry-missing", 10, "image_missing", "user", "pulling", "code = NotFound"],
  ["pod-image-registry-denied", 10, "image_denied", "user", "pulling", "401 Unauthorized"],
  ["pod-image-registry-busy", 10, "registry", "provider", "pulling", "429 Too Many Requests"],
  ["pod-image-registry-broken", 10, "registry", "provider", "pulling", "500 Internal Server"],
  ["pod-image-no-such-host", 10, "registry", "provider", "pulling", "no such host"],
  ["pod-image-invalid-name", 13, "image_invalid", "user", "pulling", "invalid reference format"],
  ["pod-image-never-pull", 11, "image_invalid", "user", "pulling", "pull policy of Never"],
  ["pod-missing-secret-env", 12, "configuration", "provider", "creating", "secret nope is missing"],
  [
    "pod-missing-configmap-env",
    11,
    "configuration",
    "provider",
    "creating",
    "configmap nope is mi",
  ],
  ["pod-missing-secret-volume", 6, "volume", "provider", "creating", "secret nope is missing"],
  ["pod-run-as-non-root", 12, "security", "user", "creating", "image will run as root"],
] as const;

describe("trouble before a pod runs", () => {
  test.for(troubles)("%s is known at line %i as %s", ([name, line, kind, blame, stage, words]) => {
    const seen = replay(name);
    const found = seen.filter(({ sight }) => sight.trouble !== undefined);
    const first = found[0];
    expect(first?.line).toBe(line);
    expect(new Set(found.map(({ sight }) => sight.trouble?.kind))).toEqual(new Set([kind]));
    expect(first?.sight.trouble?.failure).toMatchObject({
      blame,
      stage,
      userCodeMayHaveRun: false,
    });
    for (const { sight } of found) expect(sight.trouble?.failure.message).toContain(words);
  });

  test.for(troubles)("%s ends as a deletion, never as a kill", ([name]) => {
    const ends = endsOf(replay(name));
    expect(new Set(ends.map(({ cause }) => cause))).toEqual(new Set(["worker_stopped"]));
    expect(ends[0]).toMatchObject({ blame: "provider", userCodeMayHaveRun: false });
  });
});

const over = [
  ["pod-success", true, undefined],
  ["pod-success", false, { cause: "start_failed", blame: "provider", stage: "connecting" }],
  ["pod-exit-7", true, { cause: "worker_died", blame: "system", evidence: { exit_code: "7" } }],
  ["pod-exit-7", false, { cause: "start_failed", stage: "connecting", userCodeMayHaveRun: false }],
  ["pod-bad-command", false, { cause: "start_failed", blame: "user", stage: "creating" }],
  ["pod-init-fails", false, { cause: "start_failed", evidence: { container: "setup" } }],
  [
    "pod-oom-killed",
    true,
    { cause: "out_of_memory", blame: "user", evidence: { killed: "agent" } },
  ],
  ["pod-oom-child-only", true, { cause: "out_of_memory", evidence: { killed: "child" } }],
  ["pod-deadline-exceeded", true, { cause: "worker_stopped", blame: "system" }],
  ["pod-evicted-by-api", true, { cause: "worker_stopped", blame: "node" }],
  ["pod-deleted-with-grace", true, { cause: "worker_stopped", blame: "provider" }],
  ["pod-deleted-ignoring-term", true, { cause: "worker_stopped", blame: "provider" }],
  ["pod-plain-sidecar-never-ends", true, undefined],
  ["pod-sidecar-restartable", true, undefined],
  ["node-lost", true, { cause: "worker_lost", blame: "node" }],
] as const;

describe("the end of a pod", () => {
  test.for(over)("%s, connected %s, ends as %o", ([name, connects, expected]) => {
    const seen = replay(name, { connects });
    const first = seen.find(({ sight }) => sight.end !== undefined);
    const container = readRecording(name).find((recorded) => isOver(podOf(recorded)));
    expect(first?.line).toBe(container?.line);
    // What was said at first stays, whatever becomes of the pod's object.
    const failure = first?.sight.end?.failure;
    if (expected === undefined) expect(failure).toBeUndefined();
    else expect(failure).toMatchObject(expected);
  });

  test("no trouble is seen in a pod that runs and ends well", () => {
    for (const name of ["pod-success", "pod-exit-7", "pod-sidecar-restartable"]) {
      expect(replay(name).filter(({ sight }) => sight.trouble !== undefined)).toEqual([]);
    }
  });

  test("a lost node makes a worker lost, not dead, until somebody says that it ended", () => {
    const seen = replay("node-lost", { connects: true });
    const lost = seen.find(({ sight }) => sight.trouble !== undefined);
    expect(lost?.line).toBe(17);
    expect(lost?.sight.trouble).toMatchObject({
      kind: "node_lost",
      failure: { cause: "worker_lost", blame: "node" },
    });
    expect(lost?.sight.end).toBeUndefined();
    expect(seen.find(({ sight }) => sight.end !== undefined)?.line).toBe(28);
  });

  test("an eviction is announced before the deletion, with the pod's own grace", () => {
    const first = replay("pod-evicted-by-api").find(({ sight }) => sight.stopping !== undefined);
    expect(first?.line).toBe(14);
    expect(first?.sight.stopping).toEqual({ reason: "Eviction API: evicting", noticeMs: 3000 });
  });

  test("a deletion is announced with what is left of its grace", () => {
    const seen = replay("pod-deleted-with-grace");
    const first = seen.find(({ sight }) => sight.stopping !== undefined);
    expect(first?.line).toBe(14);
    expect(first?.sight.stopping?.noticeMs).toBe(8000);
  });

  test("the kubelet's own deadline is announced by its event", () => {
    const seen = replay("pod-deadline-exceeded");
    expect(seen.find(({ sight }) => sight.stopping !== undefined)?.line).toBe(14);
  });

  test("exit code 137 of a container that runs no more is no memory failure and no user's fault", () => {
    const pod = ended({ exitCode: 137, reason: "Error", startedAt: "2026-11-20T20:00:00Z" });
    const { end } = classify(pod, context({ isConnected: true, hasRun: true }));
    expect(end?.failure).toMatchObject({ cause: "worker_died", blame: "node" });
  });

  test("a container that never started says so", () => {
    const pod = ended({ exitCode: 137, reason: "ContainerStatusUnknown" });
    expect(classify(pod, context({})).end?.failure).toMatchObject({
      cause: "start_failed",
      message: "its container never started",
      userCodeMayHaveRun: false,
    });
  });

  test("a pod that the kubelet evicts keeps the kubelet's words", () => {
    const pod: V1Pod = {
      metadata: { name: "p" },
      status: {
        phase: "Failed",
        reason: "Evicted",
        message: "The node was low on resource: memory. Threshold quantity: 100Mi",
      },
    };
    expect(classify(pod, context({ hasRun: true, isConnected: true })).end?.failure).toMatchObject({
      cause: "worker_stopped",
      blame: "node",
      message: expect.stringContaining("low on resource: memory"),
    });
  });

  test("an image of the operator's choice is never the user's fault", () => {
    const pod: V1Pod = {
      spec: { nodeName: "n", containers: [{ name: "worker", image: "agent:1" }] },
      status: {
        containerStatuses: [
          {
            ...container,
            state: { waiting: { reason: "ErrImagePull", message: "code = NotFound" } },
          },
        ],
      },
    };
    const blameOf = (images: readonly string[]) =>
      classify(pod, context({ defaultImages: new Set(images) })).trouble?.failure.blame;
    expect(blameOf([])).toBe("user");
    expect(blameOf(["agent:1"])).toBe("provider");
  });

  test("the reason that an older cluster leaves out of the back-off comes from the event", () => {
    const pod: V1Pod = {
      spec: { nodeName: "n", containers: [{ name: "worker", image: "a:1" }] },
      status: {
        containerStatuses: [
          {
            ...container,
            state: {
              waiting: { reason: "ImagePullBackOff", message: 'Back-off pulling image "a:1"' },
            },
          },
        ],
      },
    };
    const facts = withEvent(noFacts, {
      reason: "Failed",
      message: 'Failed to pull image "a:1": unexpected status: 403 Forbidden',
    });
    expect(classify(pod, context({ facts })).trouble?.kind).toBe("image_denied");
  });
});

const container = { name: "worker", image: "", imageID: "", ready: false, restartCount: 0 };

function context(some: Partial<Context>): Context {
  return { facts: noFacts, isConnected: false, hasRun: false, defaultImages: new Set(), ...some };
}

function ended(state: {
  readonly exitCode: number;
  readonly reason: string;
  readonly startedAt?: string;
}): V1Pod {
  const { startedAt, ...terminated } = state;
  const at = startedAt === undefined ? {} : { startedAt: new Date(startedAt) };
  return {
    spec: { nodeName: "n", containers: [{ name: "worker", image: "a:1" }] },
    status: {
      phase: "Running",
      containerStatuses: [{ ...container, state: { terminated: { ...terminated, ...at } } }],
    },
  };
}

function endsOf(seen: readonly Seen[]): readonly Failure[] {
  return seen.flatMap(({ sight }) => sight.end?.failure ?? []);
}

function isOver(pod: V1Pod | undefined): boolean {
  const { containerStatuses = [], initContainerStatuses = [] } = pod?.status ?? {};
  return (
    containerStatuses.some(
      ({ name, state }) => name === "worker" && state?.terminated !== undefined,
    ) || initContainerStatuses.some(({ state }) => (state?.terminated?.exitCode ?? 0) !== 0)
  );
}
