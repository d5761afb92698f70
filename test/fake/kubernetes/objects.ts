import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";

import type {
  CoreV1Event,
  V1ClusterRole,
  V1ClusterRoleBinding,
  V1ConfigMap,
  V1LimitRange,
  V1Namespace,
  V1Node,
  V1ObjectMeta,
  V1PersistentVolumeClaim,
  V1Pod,
  V1ResourceQuota,
  V1Role,
  V1RoleBinding,
  V1Secret,
  V1ServiceAccount,
} from "@kubernetes/client-node";

import { apiVersionOf, resourceTypes, type Resource } from "./resources.ts";

/** A model of the client library as it is in JSON: times are text. */
export type Wire<T> = T extends Date
  ? string
  : T extends (infer Item)[]
    ? Wire<Item>[]
    : T extends object
      ? { [Key in keyof T]: Wire<T[Key]> }
      : T;

export type Metadata = Wire<V1ObjectMeta> & { name: string; uid: string; resourceVersion: string };

export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: Metadata;
  [field: string]: unknown;
}

type Stored<T> = KubeObject & Wire<Omit<T, "metadata" | "apiVersion" | "kind">>;
export type Pod = Stored<V1Pod>;
export type Node = Stored<V1Node>;
export type Namespace = Stored<V1Namespace>;
export type KubeEvent = Stored<CoreV1Event>;

/** The resources with a type of their own; all others are plain `KubeObject`. */
interface Typed {
  pods: Pod;
  nodes: Node;
  namespaces: Namespace;
  events: KubeEvent;
  secrets: Stored<V1Secret>;
  configmaps: Stored<V1ConfigMap>;
  serviceaccounts: Stored<V1ServiceAccount>;
  resourcequotas: Stored<V1ResourceQuota>;
  limitranges: Stored<V1LimitRange>;
  persistentvolumeclaims: Stored<V1PersistentVolumeClaim>;
  roles: Stored<V1Role>;
  rolebindings: Stored<V1RoleBinding>;
  clusterroles: Stored<V1ClusterRole>;
  clusterrolebindings: Stored<V1ClusterRoleBinding>;
}
export type ObjectOf<R extends Resource> = R extends keyof Typed ? Typed[R] : KubeObject;

/** An object before it is stored; the storage fills in what is missing. */
export interface Draft {
  metadata: Partial<Metadata> & { name: string };
  [field: string]: unknown;
}

export interface Change {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly resource: Resource;
  readonly object: KubeObject;
  /** Undefined for ADDED. */
  readonly previous: KubeObject | undefined;
  readonly revision: number;
}

/** Thrown by `create` for a name that is taken. */
export class AlreadyExists extends Error {}

/**
 * What etcd is to the API server: every write gets the next resourceVersion and is told to all
 * subscribers in order, synchronously. Stored objects are never changed in place; do not either.
 */
export class Objects {
  private readonly tables = new Map<Resource, Map<string, KubeObject>>();
  private readonly listeners = new Set<(change: Change) => void>();
  private lastRevision = 1000;
  private readonly waiting: Change[] = [];
  private isTelling = false;

  get revision(): number {
    return this.lastRevision;
  }

  get<R extends Resource>(resource: R, name: string, namespace = ""): ObjectOf<R> | undefined {
    return this.table(resource).get(keyOf(name, namespace)) as ObjectOf<R> | undefined;
  }

  /** In creation order; of all namespaces if none is named. */
  list<R extends Resource>(resource: R, namespace = ""): ObjectOf<R>[] {
    const all = [...this.table(resource).values()] as ObjectOf<R>[];
    return namespace === "" ? all : all.filter((one) => one.metadata.namespace === namespace);
  }

  create<R extends Resource>(resource: R, draft: Draft): ObjectOf<R> {
    const { name, namespace = "" } = draft.metadata;
    const table = this.table(resource);
    const key = keyOf(name, namespace);
    if (table.has(key)) throw new AlreadyExists(`${resource} "${name}" already exists`);
    const type = resourceTypes[resource];
    const revision = this.nextRevision();
    const object: KubeObject = {
      kind: type.kind,
      apiVersion: apiVersionOf(type),
      ...draft,
      metadata: {
        ...draft.metadata,
        uid: draft.metadata.uid ?? randomUUID(),
        resourceVersion: String(revision),
        ...(type.hasGeneration ? { generation: 1 } : {}),
        creationTimestamp: draft.metadata.creationTimestamp ?? timestamp(),
      },
    };
    table.set(key, object);
    this.tell({ type: "ADDED", resource, object, previous: undefined, revision });
    return object as ObjectOf<R>;
  }

  /**
   * Puts the object in the place of the stored one of its name and counts resourceVersion and
   * generation; the same content again is no write. The last finalizer gone ends a deletion.
   */
  update<R extends Resource>(resource: R, next: KubeObject): ObjectOf<R> {
    const { name, namespace = "" } = next.metadata;
    const previous = this.table(resource).get(keyOf(name, namespace));
    if (previous === undefined) throw new Error(`no ${resource} "${name}" in "${namespace}"`);
    if (isDeepStrictEqual(previous, next)) return previous as ObjectOf<R>;
    const revision = this.nextRevision();
    const object = { ...next, metadata: { ...next.metadata, resourceVersion: String(revision) } };
    if (hasNewGeneration(resource, previous, next)) {
      object.metadata.generation = (previous.metadata.generation ?? 1) + 1;
    }
    if (isDeletionDone(resource, object)) {
      this.table(resource).delete(keyOf(name, namespace));
      this.tell({ type: "DELETED", resource, object, previous, revision });
    } else {
      this.table(resource).set(keyOf(name, namespace), object);
      this.tell({ type: "MODIFIED", resource, object, previous, revision });
    }
    return object as ObjectOf<R>;
  }

  /**
   * For controllers, kubelets and tests: changes a copy and stores it, with no admission and no
   * validation. Undefined if there is no such object (any more).
   */
  mutate<R extends Resource>(
    resource: R,
    where: { name: string; namespace?: string | undefined },
    change: (object: ObjectOf<R>) => void,
  ): ObjectOf<R> | undefined {
    const stored = this.get(resource, where.name, where.namespace);
    if (stored === undefined) return undefined;
    const copy = structuredClone(stored);
    change(copy);
    return this.update(resource, copy);
  }

  /**
   * What DELETE does: a pod with grace and any object with finalizers is only marked; everything
   * else is gone. A second call may shorten the grace, never lengthen it.
   */
  delete<R extends Resource>(
    resource: R,
    where: { name: string; namespace?: string | undefined },
    options: { graceSeconds?: number | undefined } = {},
  ): ObjectOf<R> | undefined {
    const stored = this.get(resource, where.name, where.namespace);
    if (stored === undefined) return undefined;
    const graceSeconds = graceOf(resource, stored, options.graceSeconds);
    const keepsFinalizers = (finalizersOf(resource, stored)?.length ?? 0) > 0;
    if (graceSeconds === 0 && !keepsFinalizers) {
      if (resource === "pods") this.showEnd(stored);
      return this.remove(resource, where);
    }
    const before = stored.metadata.deletionGracePeriodSeconds;
    if (stored.metadata.deletionTimestamp !== undefined && (before ?? 0) <= graceSeconds) {
      return stored;
    }
    return this.mutate(resource, where, (object) => {
      const isMarked = object.metadata.deletionTimestamp !== undefined;
      object.metadata.deletionTimestamp = timestamp(graceSeconds * 1000);
      if (resource !== "namespaces") object.metadata.deletionGracePeriodSeconds = graceSeconds;
      if (resource === "namespaces") object["status"] = { phase: "Terminating" };
      if (resourceTypes[resource].hasGeneration && !isMarked) {
        object.metadata.generation = (object.metadata.generation ?? 1) + 1;
      }
    });
  }

  /** A pod is seen marked with no grace once before it is gone, whatever its grace was. */
  private showEnd(previous: KubeObject): void {
    const { name, namespace = "", deletionTimestamp, generation = 1 } = previous.metadata;
    const revision = this.nextRevision();
    const metadata = {
      ...previous.metadata,
      generation: deletionTimestamp === undefined ? generation + 1 : generation,
      deletionTimestamp: timestamp(),
      deletionGracePeriodSeconds: 0,
      resourceVersion: String(revision),
    };
    const object = { ...previous, metadata };
    this.table("pods").set(keyOf(name, namespace), object);
    this.tell({ type: "MODIFIED", resource: "pods", object, previous, revision });
  }

  /** Takes the object away now, finalizers or not: what the kubelet does after the last breath. */
  remove<R extends Resource>(
    resource: R,
    where: { name: string; namespace?: string | undefined },
  ): ObjectOf<R> | undefined {
    const previous = this.get(resource, where.name, where.namespace);
    if (previous === undefined) return undefined;
    this.table(resource).delete(keyOf(where.name, where.namespace ?? ""));
    const revision = this.nextRevision();
    const object = {
      ...previous,
      metadata: { ...previous.metadata, resourceVersion: String(revision) },
    };
    this.tell({ type: "DELETED", resource, object, previous, revision });
    return object;
  }

  /** Every later change, in order of revision. A listener may write; others then hear it after. */
  subscribe(listener: (change: Change) => void): Disposable {
    this.listeners.add(listener);
    return { [Symbol.dispose]: () => void this.listeners.delete(listener) };
  }

  private tell(change: Change): void {
    this.waiting.push(change);
    if (this.isTelling) return;
    this.isTelling = true;
    try {
      for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
        for (const listener of this.listeners) listener(next);
      }
    } finally {
      this.isTelling = false;
    }
  }

  private table(resource: Resource): Map<string, KubeObject> {
    let table = this.tables.get(resource);
    if (table === undefined) this.tables.set(resource, (table = new Map()));
    return table;
  }

  private nextRevision(): number {
    this.lastRevision += 1;
    return this.lastRevision;
  }
}

/** The API's text for a time: whole seconds, UTC. */
export function timestamp(afterMs = 0): string {
  return `${new Date(Date.now() + afterMs).toISOString().slice(0, 19)}Z`;
}

function keyOf(name: string, namespace: string): string {
  return `${namespace}/${name}`;
}

/** Being bound to a node is no change of a pod's generation. */
function hasNewGeneration(resource: Resource, previous: KubeObject, next: KubeObject): boolean {
  if (!resourceTypes[resource].hasGeneration) return false;
  return !isDeepStrictEqual(body(resource, previous), body(resource, next));
}

function body(resource: Resource, object: KubeObject): Record<string, unknown> {
  const { metadata: _metadata, status: _status, ...rest } = object;
  if (resource !== "pods") return rest;
  return { ...rest, spec: { ...(object as Pod).spec, nodeName: undefined } };
}

function finalizersOf(resource: Resource, object: KubeObject): readonly string[] | undefined {
  if (resource !== "namespaces") return object.metadata.finalizers;
  return (object as Namespace).spec?.finalizers;
}

function isDeletionDone(resource: Resource, object: KubeObject): boolean {
  if (object.metadata.deletionTimestamp === undefined) return false;
  if ((object.metadata.deletionGracePeriodSeconds ?? 0) > 0) return false;
  return (finalizersOf(resource, object)?.length ?? 0) === 0;
}

/** A pod that runs nowhere or has ended needs no grace. */
function graceOf(resource: Resource, object: KubeObject, asked: number | undefined): number {
  if (resource !== "pods") return 0;
  const { spec, status } = object as Pod;
  if ((spec?.nodeName ?? "") === "") return 0;
  if (status?.phase === "Succeeded" || status?.phase === "Failed") return 0;
  return asked ?? spec?.terminationGracePeriodSeconds ?? 30;
}
