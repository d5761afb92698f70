import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { KubeEvent, KubeObject, Node, Pod } from "./objects.ts";

/** One line of a recording of a real cluster. */
export interface RecordedLine {
  readonly ms: number;
  readonly source: "create" | "pods" | "events" | "nodes" | "call";
  readonly type: string;
  readonly object: KubeObject | string;
}

export const recordingsDirectory = join(import.meta.dirname, "../../fixtures/kubernetes-1.36");

/** The names of all situations with a watch: `pod-success`, `node-lost`. */
export function listSituations(): string[] {
  return readdirSync(recordingsDirectory)
    .filter((name) => /^(pod-.*|node-lost)\.jsonl$/.test(name))
    .map((name) => name.replace(".jsonl", ""));
}

export function readRecording(name: string): RecordedLine[] {
  return readFileSync(join(recordingsDirectory, `${name}.jsonl`), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as RecordedLine);
}

/** What stays the same from run to run: each of the three watches in its order, repetitions left out. */
export interface Observations {
  readonly pods: readonly unknown[];
  readonly events: readonly unknown[];
  readonly nodes: readonly unknown[];
  /** What was asked for, with the answer. */
  readonly calls: readonly unknown[];
}

export function observationsOf(
  lines: readonly Pick<RecordedLine, "source" | "type" | "object">[],
): Observations {
  const of = (source: RecordedLine["source"]) => lines.filter((line) => line.source === source);
  return {
    pods: unrepeated(of("pods").map(({ type, object }) => ({ type, ...podFacts(object as Pod) }))),
    // A later one of the same is only a count, and how many there are is a matter of time. The DNS of the recorded cluster is its own.
    events: of("events")
      .filter(
        ({ type, object }) =>
          type === "ADDED" && (object as KubeEvent).reason !== "MissingClusterDNS",
      )
      .map(({ object }) => eventFacts(object as KubeEvent)),
    nodes: unrepeated(
      of("nodes").map(({ type, object }) => ({ type, ...nodeFacts(object as Node) })),
    ),
    calls: lines
      .filter(
        ({ source, object }) => (source === "create" || source === "call") && object !== undefined,
      )
      .map(({ type, object }) => ({ type, ...callFacts(object) })),
  };
}

function callFacts(answer: KubeObject | string): object {
  if (typeof answer === "string") return { log: logFacts(answer) };
  if (answer.kind === "Status") return answer;
  const pod = answer as Pod;
  return {
    spec: { ...pod.spec, nodeName: undefined },
    qos: pod.status?.qosClass,
    ...podFacts(pod),
  };
}

/** What a log says of permissions; without root's rights there are none to see. */
function logFacts(log: string): unknown {
  if (process.getuid?.() !== 0) return "needs root";
  return {
    mode: /Z (-r\S+)/.exec(log)?.[1],
    groups: /uid=(\d+).*gid=(\d+)/.exec(log)?.slice(1),
    isRead: log.includes("one-time"),
    isRootWritable: log.includes("root-write 0"),
    isStamped: log
      .trim()
      .split("\n")
      .every((line) => /^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}Z /.test(line)),
  };
}

function podFacts(pod: Pod): object {
  const { metadata, spec, status = {} } = pod;
  const clean = cleaner(pod);
  return {
    isBound: spec?.nodeName !== undefined,
    generation: `${metadata.generation}/${status.observedGeneration}`,
    deletion: metadata.deletionTimestamp === undefined ? "no" : metadata.deletionGracePeriodSeconds,
    phase: status.phase,
    verdict: `${status.reason ?? ""} ${status.message ?? ""}`.trim(),
    hasStarted: status.startTime !== undefined,
    conditions: status.conditions?.map(
      ({ type, status: state, reason, message, observedGeneration }) =>
        clean(`${type}=${state} ${reason ?? "-"} ${message ?? "-"} ${observedGeneration}`),
    ),
    init: status.initContainerStatuses?.map((one) => containerFacts(one, clean)),
    containers: status.containerStatuses?.map((one) => containerFacts(one, clean)),
  };
}

type Status = NonNullable<NonNullable<Pod["status"]>["containerStatuses"]>[number];

function containerFacts(status: Status, clean: (text: string) => string): object {
  const [kind, state] = Object.entries(status.state ?? {})[0] ?? [];
  const { startedAt, finishedAt, containerID, ...facts } = {
    ...(state as Record<string, unknown>),
  };
  return {
    name: status.name,
    state: clean(`${kind} ${JSON.stringify(facts)}`),
    times: `${typeof startedAt} ${typeof finishedAt} ${typeof containerID}`,
    restartCount: status.restartCount,
    ready: status.ready,
    started: status.started,
    image: status.image,
    hasImageId: status.imageID !== "",
    hasId: status.containerID !== undefined,
    user: status.user,
  };
}

function eventFacts(event: KubeEvent): object {
  const { name, kind, namespace, fieldPath, uid } = event.involvedObject;
  const clean = cleaner({
    metadata: { ...event.metadata, name: name ?? "", namespace: namespace ?? "" },
  });
  return {
    about: `${kind} ${fieldPath ?? "-"} ${typeof uid}`,
    type: event.type,
    reason: event.reason,
    message: clean(event.message ?? ""),
    by: event.reportingComponent,
    source: Object.keys(event.source ?? {}),
    isCounted: event.count !== undefined,
    hasMicroTime: typeof event.eventTime === "string",
    action: event.action,
  };
}

function nodeFacts({ spec, status }: Node): object {
  return {
    taints: spec?.taints?.map(({ key, effect }) => `${key}:${effect}`),
    conditions: status?.conditions?.map(
      ({ type, status: state, reason, message }) => `${type}=${state} ${reason} ${message}`,
    ),
  };
}

/** Puts the same words in the place of names and uids. */
function cleaner({
  metadata,
}: {
  readonly metadata: { name: string; namespace?: string };
}): (text: string) => string {
  return (text) =>
    text
      .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "UID")
      .replaceAll(`${metadata.namespace}/${metadata.name}`, "NAMESPACE/NAME")
      .replaceAll(`${metadata.name}_${metadata.namespace}`, "NAME_NAMESPACE");
}

function unrepeated<T>(all: readonly T[]): T[] {
  return all.filter(
    (one, index) => index === 0 || JSON.stringify(one) !== JSON.stringify(all[index - 1]),
  );
}
