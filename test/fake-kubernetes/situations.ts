import { EventEmitter, once } from "node:events";

import { startCluster, type Cluster } from "../fake/kubernetes/cluster.ts";
import type { Images } from "../fake/kubernetes/kubelet-images.ts";
import { isFinal, type Container } from "../fake/kubernetes/kubelet-types.ts";
import type { Machines } from "../fake/kubernetes/machines.ts";
import type { KubeObject, Node, Pod } from "../fake/kubernetes/objects.ts";
import { readRecording, type RecordedLine } from "../fake/kubernetes/recordings.ts";
import type { Timings } from "../fake/kubernetes/timings.ts";

/** Situations that the double cannot bring about; each with the reason. */
export const notReproduced: ReadonlyMap<string, string> = new Map();

const namespace = "rec";

const registries: Images = {
  "localhost:5000/missing/app:1": { pull: "not_found" },
  "localhost:5000/denied/app:1": { pull: "unauthorized" },
  "localhost:5000/busy/app:1": { pull: "busy" },
  "localhost:5000/broken/app:1": { pull: "broken" },
  "registry.invalid/app:1": { pull: "no_such_host" },
};

interface Situation {
  /** What is waited for before the pod is deleted. */
  readonly until?: (pod: Pod, replay: Replay) => boolean;
  /** What is done then, and before the deletion. */
  readonly during?: (replay: Replay) => Promise<void>;
  readonly timings?: Partial<Timings>;
  /** What is not on this machine as it is in the image. */
  readonly images?: Images;
}

const quickGrace = { graceSecondMs: 50 };
const waits = (reason: string) => (pod: Pod) =>
  pod.status?.containerStatuses?.some(({ state }) => state?.waiting?.reason === reason) === true;
const isRefused = (pod: Pod): boolean =>
  pod.status?.conditions?.some(({ reason }) => reason === "Unschedulable") === true;
/** A shell that has not set its trap yet would not hear of the deletion. */
const heeds = (pod: Pod, { machines }: Replay): boolean =>
  machines.process({ name: pod.metadata.name, namespace }, "worker")?.heedsTerm === true;

const situations: Readonly<Record<string, Situation>> = {
  "node-lost": { until: isReady, during: loseAndReturn, timings: quickGrace },
  "pod-deadline-exceeded": { timings: { deadlineSecondMs: 100, graceSecondMs: 50 } },
  "pod-deleted-ignoring-term": { until: isReady, during: deleteAndWait, timings: quickGrace },
  "pod-deleted-with-grace": { until: heeds, during: deleteAndWait },
  "pod-evicted-by-api": { until: heeds, during: evict },
  "pod-image-invalid-name": { until: waits("InvalidImageName") },
  "pod-image-never-pull": { until: waits("ErrImageNeverPull") },
  "pod-image-no-such-host": { until: waits("ImagePullBackOff") },
  "pod-image-registry-broken": { until: waits("ImagePullBackOff") },
  "pod-image-registry-busy": { until: waits("ImagePullBackOff") },
  "pod-image-registry-denied": { until: waits("ImagePullBackOff") },
  "pod-image-registry-missing": { until: waits("ImagePullBackOff") },
  "pod-missing-configmap-env": { until: waits("CreateContainerConfigError") },
  "pod-missing-secret-env": { until: waits("CreateContainerConfigError") },
  "pod-missing-secret-volume": { until: (_, { lines }) => lines.some(isFailedMount) },
  // It sleeps for longer than the grace, and ended by itself because it was deleted late.
  "pod-name-taken": { until: isReady, during: createAgain, timings: { graceSecondMs: 2000 } },
  "pod-oom-child-only": { timings: { memoryMs: 10 } },
  "pod-oom-killed": { timings: { memoryMs: 10 } },
  "pod-plain-sidecar-never-ends": {
    until: ({ status }) => status?.containerStatuses?.[1]?.state?.terminated !== undefined,
    timings: quickGrace,
  },
  "pod-run-as-non-root": { until: waits("CreateContainerConfigError") },
  "pod-secret-0400-with-fsgroup": { during: readLog },
  "pod-secret-0400-without-fsgroup": { during: readLog },
  "pod-sidecar-restartable": { timings: quickGrace },
  // The kubelet makes `$` of the recorded `kill -9 $$`, at which alpine's shell ends with 1, and others with 2.
  "pod-signal-kill": {
    images: { "alpine:latest": { programs: { sh: ["sh", "-c", "exit 1"] } } },
  },
  "pod-unschedulable-cpu": { until: isRefused },
  "pod-unschedulable-selector": { until: isRefused },
};

/** The double while a situation is played: its API as behind a proxy, and its watches. */
class Replay implements AsyncDisposable {
  readonly lines: RecordedLine[] = [];
  readonly #cluster: Cluster;
  readonly #name: string;
  readonly #changed = new EventEmitter();
  readonly #subscription: Disposable;

  private constructor(name: string, cluster: Cluster) {
    this.#name = name;
    this.#cluster = cluster;
    const { objects } = cluster;
    cluster.api.addNamespace(namespace);
    const data = { token: Buffer.from("one-time").toString("base64") };
    objects.create("secrets", { metadata: { name: "otp", namespace }, data });
    for (const object of objects.list("nodes")) this.note("nodes", "ADDED", object);
    this.#subscription = objects.subscribe(({ resource, type, object }) => {
      const isPod = resource === "pods" && object.metadata.name === name;
      const isEvent = resource === "events" && nameOf(object["involvedObject"]) === name;
      if (resource === "nodes" || isPod || isEvent) this.note(resource, type, object);
      this.#changed.emit("changed");
    });
  }

  static async open(
    name: string,
    { timings, images }: { readonly timings: Partial<Timings>; readonly images: Images },
  ): Promise<Replay> {
    const nodes = [{ name: "node1", cpu: "2", memory: "24581684Ki", pods: "250" }];
    const cluster = await startCluster({
      tls: false,
      anonymousAdmin: true,
      nodes,
      images: { ...registries, ...images },
      timings,
    });
    return new Replay(name, cluster);
  }

  get machines(): Machines {
    return this.#cluster.machines;
  }

  get node(): Node | undefined {
    return this.#cluster.objects.get("nodes", "node1");
  }

  pod(): Pod {
    const pod = this.find();
    if (pod === undefined) throw new Error(`${this.#name} is gone`);
    return pod;
  }

  find(): Pod | undefined {
    return this.#cluster.objects.get("pods", this.#name, namespace);
  }

  /** Asks for something below the namespace's pods. */
  async call(method: string, path = `/${this.#name}`, body?: object) {
    const answer = await fetch(
      `${this.#cluster.api.url}/api/v1/namespaces/${namespace}/pods${path}`,
      {
        method,
        headers: { "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      },
    );
    const text = await answer.text();
    const isText = answer.headers.get("content-type")?.startsWith("text/") === true;
    return { status: answer.status, body: isText ? text : (JSON.parse(text) as KubeObject) };
  }

  note(source: RecordedLine["source"], type: string, object: KubeObject | string): void {
    this.lines.push({ ms: Date.now(), source, type, object });
  }

  async until(isSo: () => boolean): Promise<void> {
    const signal = AbortSignal.timeout(15_000);
    while (!isSo()) {
      // Not all that is waited for is a change of an object.
      const soon = AbortSignal.any([signal, AbortSignal.timeout(20)]);
      await once(this.#changed, "changed", { signal: soon }).catch(() => signal.throwIfAborted());
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription[Symbol.dispose]();
    await this.#cluster[Symbol.asyncDispose]();
  }
}

/** Plays the situation in the double and gives what was asked and what the watches saw. */
export async function replaySituation(name: string): Promise<RecordedLine[]> {
  const { until = isFinal, during, timings = {}, images = {} } = situations[name] ?? {};
  const recording = readRecording(name);
  const pod = requestOf(name, recording);
  await using replay = await Replay.open(pod.metadata.name, { timings, images });
  const created = await replay.call("POST", "", pod);
  if (recording.some(({ source }) => source === "create")) {
    replay.note("create", String(created.status), created.body);
  }
  if (created.status === 201) {
    await replay.until(() => until(replay.pod(), replay));
    await during?.(replay);
  }
  if (recording.some(({ source, type }) => source === "call" && type === "DELETE")) {
    replay.note("call", "DELETE", (await replay.call("DELETE")).body);
  }
  await replay.until(() => replay.find() === undefined);
  const isOfNodes = recording.some(({ source }) => source === "nodes");
  return replay.lines.filter(({ source }) => isOfNodes || source !== "nodes");
}

/** What had been sent, without what the API server has added. */
function requestOf(name: string, recording: readonly RecordedLine[]) {
  const first = recording.find(({ source }) => source === "create" || source === "pods");
  const { kind, metadata, spec } = (first?.object ?? {}) as Pod;
  const base = {
    restartPolicy: "Never",
    terminationGracePeriodSeconds: 3,
    automountServiceAccountToken: false,
  };
  if (kind !== "Pod" || spec === undefined) {
    const containers = [
      { name: "worker", image: "alpine:latest", command: ["sh", "-c", "echo hi"] },
    ];
    return {
      metadata: { name: name.replace("pod-missing-serviceaccount", "missing-sa") },
      spec: { ...base, serviceAccountName: "nope", containers },
    };
  }
  const { tolerations, initContainers, containers, ...rest } = spec;
  const added = [
    "dnsPolicy",
    "serviceAccountName",
    "serviceAccount",
    "schedulerName",
    "priority",
    "enableServiceLinks",
    "preemptionPolicy",
  ];
  const isOwn = tolerations?.every(({ tolerationSeconds }) => tolerationSeconds !== 300) === true;
  return {
    metadata: {
      name: metadata.name,
      ...(metadata.labels === undefined ? {} : { labels: metadata.labels }),
    },
    spec: {
      ...Object.fromEntries(
        Object.entries(rest).filter(([key, value]) => !added.includes(key) && !isEmpty(value)),
      ),
      ...(isOwn ? { tolerations } : {}),
      ...(initContainers === undefined ? {} : { initContainers: initContainers.map(withoutAdded) }),
      containers: containers.map(withoutAdded),
    },
  };
}

function withoutAdded(container: Container) {
  const {
    terminationMessagePath: _path,
    terminationMessagePolicy: _policy,
    resources,
    ...rest
  } = container;
  const { limits } = resources ?? {};
  // Requests that were left out are the limits.
  return {
    ...rest,
    ...(isEmpty(resources) ? {} : { resources: limits === undefined ? resources : { limits } }),
  };
}

function isEmpty(value: unknown): boolean {
  return (
    value === undefined ||
    (typeof value === "object" && value !== null && Object.keys(value).length === 0)
  );
}

async function deleteAndWait(replay: Replay): Promise<void> {
  const { status, body } = await replay.call("DELETE");
  replay.note("call", `DELETE ${status}`, body);
  await replay.until(() => replay.find() === undefined);
}

async function evict(replay: Replay): Promise<void> {
  const { name } = replay.pod().metadata;
  const eviction = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name, namespace } };
  const { status, body } = await replay.call("POST", `/${name}/eviction`, eviction);
  replay.note("call", `EVICT ${status}`, body);
  await replay.until(() => replay.find() === undefined);
}

async function createAgain(replay: Replay): Promise<void> {
  const { metadata, spec } = replay.pod();
  const again = { metadata: { name: metadata.name }, spec: { containers: spec?.containers } };
  const { status, body } = await replay.call("POST", "", again);
  replay.note("call", `CREATE AGAIN ${status}`, body);
}

async function readLog(replay: Replay): Promise<void> {
  const { name } = replay.pod().metadata;
  replay.note("call", "LOG", (await replay.call("GET", `/${name}/log?timestamps=true`)).body);
}

async function loseAndReturn(replay: Replay): Promise<void> {
  const lost = replay.machines.loseNode("node1");
  await replay.until(() => replay.pod().metadata.deletionTimestamp !== undefined);
  await lost;
  await replay.machines.returnNode("node1");
  await replay.until(() => replay.node?.spec?.taints === undefined);
}

function isReady({ status }: Pod): boolean {
  return status?.phase === "Running";
}

function isFailedMount({ source, object }: RecordedLine): boolean {
  return source === "events" && typeof object === "object" && object["reason"] === "FailedMount";
}

function nameOf(about: unknown): unknown {
  return typeof about === "object" && about !== null && "name" in about ? about.name : undefined;
}
