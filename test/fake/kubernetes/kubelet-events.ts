import type { Objects, Pod } from "./objects.ts";
import { timestamp } from "./objects.ts";

export interface Note {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
  /** `spec.containers{worker}` */
  readonly fieldPath?: string;
}

let count = 0;

/** Records what a controller or kubelet says of an object; the same again counts up. */
export function recordEvent(
  objects: Objects,
  about: Pick<Pod, "kind" | "apiVersion" | "metadata">,
  note: Note & { readonly component: string; readonly host?: string; readonly withUid?: boolean },
): void {
  const { name, namespace = "default", uid, resourceVersion } = about.metadata;
  const { type, reason, message, fieldPath } = note;
  const involvedObject = {
    kind: about.kind,
    ...(about.metadata.namespace === undefined ? {} : { namespace }),
    name,
    ...(note.withUid === false ? {} : { uid }),
    apiVersion: about.apiVersion,
    ...(note.withUid === false ? {} : { resourceVersion }),
    ...(fieldPath === undefined ? {} : { fieldPath }),
  };
  const now = timestamp();
  const again = known(objects, [uid, name, fieldPath, reason, message, type].join(" | "));
  if (again.name !== "") {
    const counted = objects.mutate("events", { name: again.name, namespace }, (event) => {
      event.count = (event.count ?? 1) + 1;
      event.lastTimestamp = now;
    });
    if (counted !== undefined) return;
  }
  again.name = eventName(name);
  objects.create("events", {
    metadata: { name: again.name, namespace },
    involvedObject,
    reason,
    message,
    source: { component: note.component, ...(note.host === undefined ? {} : { host: note.host }) },
    firstTimestamp: now,
    lastTimestamp: now,
    count: 1,
    type,
    eventTime: null,
    reportingComponent: note.component,
    reportingInstance: note.host ?? "",
  });
}

/** The scheduler records by the newer interface: no count, no source, times in microseconds. */
export function recordDecision(
  objects: Objects,
  pod: Pod,
  note: Note & { readonly action: string },
): void {
  const { name, namespace = "default", uid, resourceVersion } = pod.metadata;
  objects.create("events", {
    metadata: { name: eventName(name), namespace },
    involvedObject: { kind: "Pod", namespace, name, uid, apiVersion: "v1", resourceVersion },
    reason: note.reason,
    message: note.message,
    source: {},
    firstTimestamp: null,
    lastTimestamp: null,
    type: note.type,
    eventTime: new Date().toISOString().replace("Z", "000Z"),
    action: note.action,
    reportingComponent: "default-scheduler",
    reportingInstance: "default-scheduler-double",
  });
}

/** Which event tells a thing already; an empty name for none. */
function known(objects: Objects, what: string): { name: string } {
  let all = told.get(objects);
  if (all === undefined) told.set(objects, (all = new Map()));
  let one = all.get(what);
  if (one === undefined) all.set(what, (one = { name: "" }));
  return one;
}

const told = new WeakMap<Objects, Map<string, { name: string }>>();

function eventName(name: string): string {
  count += 1;
  return `${name}.${(BigInt(Date.now()) * 1_000_000n + BigInt(count)).toString(16)}`;
}
