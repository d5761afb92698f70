import { bodyOf, readStrictly } from "./body.ts";
import { isJson, type Json } from "./field-set.ts";
import type { KubeObject, Objects } from "./objects.ts";
import { isTrue, type ApiRequest } from "./request.ts";
import { apiVersionOf, resourceTypes, type Resource } from "./resources.ts";
import { selectorOf } from "./selectors.ts";
import { ApiError, badRequest } from "./status.ts";
import { getObject, type Answer } from "./verbs.ts";

interface DeleteOptions {
  readonly gracePeriodSeconds?: number;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly propagationPolicy?: string;
  readonly orphanDependents?: boolean;
}

/** The kinds whose deletion answers the object; all others answer a Status. */
const answered: ReadonlySet<Resource> = new Set([
  "pods",
  "namespaces",
  "services",
  "serviceaccounts",
  "persistentvolumeclaims",
  "persistentvolumes",
  "resourcequotas",
]);

export function deleteObject(objects: Objects, resource: Resource, request: ApiRequest): Answer {
  const options = optionsOf(request);
  const before = getObject(objects, resource, request);
  const { name, namespace, uid } = before.metadata;
  checkPreconditions(before, options);
  const after = deleteOne(objects, resource, { request, before, options });
  if (answered.has(resource)) return { code: codeOf(objects, after, options), body: after };
  const isGone = objects.get(resource, name, namespace) === undefined;
  if (!isGone && !request.isDryRun) return { code: codeOf(objects, after, options), body: after };
  const { group } = resourceTypes[resource];
  const details = { name, ...(group === "" ? {} : { group }), kind: resource, uid };
  return {
    code: 200,
    body: { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details },
  };
}

function deleteOne(
  objects: Objects,
  resource: Resource,
  one: { request: ApiRequest; before: KubeObject; options: DeleteOptions },
): KubeObject {
  const { request, before, options } = one;
  if (request.isDryRun) return before;
  const where = { name: before.metadata.name, namespace: before.metadata.namespace };
  // The dependents are looked after by the garbage collector, which reads this finalizer.
  if (options.propagationPolicy === "Foreground" || options.propagationPolicy === "Orphan") {
    const finalizer = options.propagationPolicy === "Orphan" ? "orphan" : "foregroundDeletion";
    const { uid } = before.metadata;
    const isOwner = objects
      .list("pods", where.namespace)
      .some(
        ({ metadata }) => metadata.ownerReferences?.some((owner) => owner.uid === uid) === true,
      );
    if (isOwner && finalizer === "foregroundDeletion") {
      objects.mutate(resource, where, ({ metadata }) => {
        metadata.finalizers = [...new Set([...(metadata.finalizers ?? []), finalizer])];
      });
    }
  }
  return objects.delete(resource, where, { graceSeconds: options.gracePeriodSeconds }) ?? before;
}

function codeOf(objects: Objects, after: KubeObject, options: DeleteOptions): number {
  const isForeground =
    options.propagationPolicy === "Foreground" || options.orphanDependents === false;
  const isMarked = after.metadata.deletionTimestamp !== undefined && objects.revision > 0;
  return isForeground && isMarked ? 202 : 200;
}

function checkPreconditions(before: KubeObject, options: DeleteOptions): void {
  const { uid, resourceVersion } = options.preconditions ?? {};
  const { metadata } = before;
  if (uid !== undefined && uid !== metadata.uid) {
    throw conflictOfKind(
      before,
      `the UID in the precondition (${uid}) does not match the UID in record (${metadata.uid}). The object might have been deleted and then recreated`,
    );
  }
  if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion) {
    throw conflictOfKind(
      before,
      `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion in record (${metadata.resourceVersion}). The object might have been modified`,
    );
  }
}

/** Here a real server names the kind in the place of the resource. */
function conflictOfKind({ kind, metadata: { name } }: KubeObject, why: string): ApiError {
  return new ApiError(409, {
    reason: "Conflict",
    message: `Operation cannot be fulfilled on ${kind} "${name}": ${why}`,
    details: { name, kind },
  });
}

export function deleteCollection(
  objects: Objects,
  resource: Resource,
  request: ApiRequest,
): Answer {
  const options = optionsOf(request);
  const type = resourceTypes[resource];
  const matches = selectorOf(resource, request.query);
  const found = objects.list(resource, request.target.namespace).filter(matches);
  const items = found.map((before) => deleteOne(objects, resource, { request, before, options }));
  return {
    code: 200,
    body: {
      kind: `${type.kind}List`,
      apiVersion: apiVersionOf(type),
      metadata: { resourceVersion: String(objects.revision) },
      items: items.map(({ kind: _kind, apiVersion: _version, ...item }) => item),
    },
  };
}

const policies: readonly unknown[] = ["Orphan", "Background", "Foreground"];

/** From the body, and from the query, which wins where there is no body. */
function optionsOf(request: ApiRequest): DeleteOptions {
  const { query } = request;
  const grace = query.get("gracePeriodSeconds");
  const fromQuery: DeleteOptions = {
    ...(grace === null ? {} : { gracePeriodSeconds: Number(grace) }),
    ...(query.has("propagationPolicy")
      ? { propagationPolicy: query.get("propagationPolicy") ?? "" }
      : {}),
    ...(query.has("orphanDependents")
      ? { orphanDependents: isTrue(query.get("orphanDependents")) }
      : {}),
  };
  if (request.body.length === 0) return fromQuery;
  const body: Json = bodyOf(request, "DeleteOptions");
  const { value } = readStrictly(body, "V1DeleteOptions", {
    // Only what is refused is told of; a warning never comes.
    request: { query: request.query, warnings: [] },
    refuse: (why) =>
      badRequest(`DeleteOptions in version "v1" cannot be handled as a DeleteOptions: ${why}`),
  });
  const { propagationPolicy } = value;
  if (propagationPolicy !== undefined && !policies.includes(propagationPolicy)) {
    throw badRequest(
      `propagationPolicy: Unsupported value: ${JSON.stringify(propagationPolicy)}: supported values: "Background", "Foreground", "Orphan"`,
    );
  }
  return { ...fromQuery, ...(isJson(value) ? value : {}) };
}
