import { randomBytes, randomUUID } from "node:crypto";

import { admitCreate, checkCreate } from "./admission.ts";
import { ownChanges, type Manager } from "./apply.ts";
import { bodyOf, decode } from "./body.ts";
import { fillDefaults, firstStatus } from "./defaults.ts";
import { isJson } from "./field-set.ts";
import { AlreadyExists, timestamp, type KubeObject, type Objects } from "./objects.ts";
import { checkEscalation } from "./rbac.ts";
import type { ApiRequest } from "./request.ts";
import { resourceTypes, type Resource } from "./resources.ts";
import {
  alreadyExists,
  ApiError,
  badRequest,
  cause,
  conflict,
  invalid,
  notFound,
  qualified,
  type Cause,
} from "./status.ts";
import { problemsOf } from "./validate.ts";

export interface Answer {
  readonly code: number;
  /** Text only where a real server answers no JSON. */
  readonly body: object | string;
}

export function getObject(objects: Objects, resource: Resource, request: ApiRequest): KubeObject {
  const { name, namespace } = request.target;
  const found = objects.get(resource, name, namespace);
  if (found === undefined) throw notFound(resource, name);
  return found;
}

export function createObject(objects: Objects, resource: Resource, request: ApiRequest): Answer {
  const { object, missing } = decode(
    resource,
    bodyOf(request, resourceTypes[resource].kind),
    request,
  );
  const manager: Manager = { name: request.manager, operation: "Update" };
  const created = prepareCreate(objects, resource, { request, object, missing });
  return {
    code: 201,
    body: storeCreated(objects, resource, {
      request,
      object: ownChanges(undefined, created, manager),
    }),
  };
}

/** Everything of a create but the storing. */
export function prepareCreate(
  objects: Objects,
  resource: Resource,
  draft: { request: ApiRequest; object: KubeObject; missing: readonly string[] },
): KubeObject {
  const { request, object, missing } = draft;
  const { namespace } = request.target;
  const { metadata } = object;
  if (namespace !== "" && (metadata.namespace ?? namespace) !== namespace)
    throw otherNamespace(namespace);
  if (metadata.resourceVersion !== undefined && metadata.resourceVersion !== "") {
    throw new ApiError(500, {
      message: "resourceVersion should not be set on objects to be created",
    });
  }
  const { generateName } = metadata;
  const isGenerated = (metadata.name ?? "") === "" && (generateName ?? "") !== "";
  object.metadata = {
    ...metadata,
    name: isGenerated
      ? `${generateName}${randomBytes(4).toString("hex").slice(0, 5)}`
      : (metadata.name ?? ""),
    uid: randomUUID(),
    creationTimestamp: timestamp(),
  };
  for (const field of [
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
  ] as const) {
    delete object.metadata[field];
  }
  if (namespace === "") delete object.metadata.namespace;
  else object.metadata.namespace = namespace;
  delete object["status"];
  fillDefaults(resource, object);
  admitCreate(objects, resource, object);
  const status = resource === "nodes" ? undefined : firstStatus(resource, object);
  if (status !== undefined) object["status"] = status;
  checkEscalation(objects, request.user, { resource, object, before: undefined });
  refuseProblems(resource, object, [
    ...missing.map((path) => cause.required(path)),
    ...problemsOf(resource, object, undefined),
  ]);
  request.warnings.push(...checkCreate(objects, resource, object));
  return object;
}

function refuseProblems(resource: Resource, object: KubeObject, problems: readonly Cause[]): void {
  const seen = new Set<string>();
  const once = problems.filter(({ field, message, reason }) => {
    const key = reason === "FieldValueRequired" ? field : `${field} ${message}`;
    return !seen.has(key) && seen.add(key);
  });
  if (once.length > 0) throw invalid(resource, object.metadata.name, once);
}

export function storeCreated(
  objects: Objects,
  resource: Resource,
  { request, object }: { request: ApiRequest; object: KubeObject },
): KubeObject {
  const { name, namespace } = object.metadata;
  if (request.isDryRun) {
    if (objects.get(resource, name, namespace) !== undefined) throw alreadyExists(resource, name);
    const generation = resourceTypes[resource].hasGeneration ? { generation: 1 } : {};
    return { ...object, metadata: { ...object.metadata, ...generation } };
  }
  try {
    return objects.create(resource, object);
  } catch (error) {
    if (error instanceof AlreadyExists) throw alreadyExists(resource, name);
    throw error;
  }
}

function otherNamespace(_namespace: string): ApiError {
  return badRequest(
    "the namespace of the provided object does not match the namespace sent on the request",
  );
}

export function updateObject(objects: Objects, resource: Resource, request: ApiRequest): Answer {
  const { object, missing } = decode(
    resource,
    bodyOf(request, resourceTypes[resource].kind),
    request,
  );
  const before = getObject(objects, resource, request);
  const { resourceVersion }: Partial<KubeObject["metadata"]> = object.metadata;
  if (resource === "leases" && (resourceVersion ?? "") === "") {
    throw unversioned(resource, before.metadata.name);
  }
  return {
    code: 200,
    body: replaceObject(objects, resource, { request, before, object, missing }),
  };
}

/** Puts the object in the place of the one before, as far as it may. */
export function replaceObject(
  objects: Objects,
  resource: Resource,
  change: {
    request: ApiRequest;
    before: KubeObject;
    object: KubeObject;
    missing: readonly string[];
    isApply?: boolean;
  },
): KubeObject {
  const { request, before, object, missing, isApply = false } = change;
  const { name } = before.metadata;
  const { metadata } = object;
  if ((metadata.name ?? name) !== name) {
    throw badRequest(
      `the name of the object (${metadata.name}) does not match the name on the URL (${name})`,
    );
  }
  const { namespace } = before.metadata;
  if (namespace !== undefined && (metadata.namespace ?? namespace) !== namespace)
    throw otherNamespace(namespace);
  const { uid = "", resourceVersion = "" } = metadata as Partial<typeof metadata>;
  if (uid !== "" && uid !== before.metadata.uid) {
    throw conflict(
      resource,
      name,
      `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${before.metadata.uid}`,
    );
  }
  if (resourceVersion !== "" && resourceVersion !== before.metadata.resourceVersion) {
    throw conflict(
      resource,
      name,
      "the object has been modified; please apply your changes to the latest version and try again",
    );
  }
  const isStatus = request.target.subresource === "status";
  let next: KubeObject = isStatus
    ? { ...before, ...(object["status"] === undefined ? {} : { status: object["status"] }) }
    : { ...object, ...(before["status"] === undefined ? {} : { status: before["status"] }) };
  if (before["status"] === undefined && !isStatus) delete next["status"];
  next.metadata = keptMetadata(before, isStatus ? before.metadata : metadata);
  if (isApply) next.metadata.managedFields = metadata.managedFields ?? [];
  if (!isStatus) {
    fillDefaults(resource, next);
    keepFixed(resource, next, before);
    checkEscalation(objects, request.user, { resource, object: next, before });
    refuseProblems(resource, next, [
      ...missing.map((path) => cause.required(path)),
      ...problemsOf(resource, next, before),
    ]);
  }
  if (!isApply) {
    const manager = {
      name: request.manager,
      operation: "Update" as const,
      ...(isStatus ? { subresource: "status" } : {}),
    };
    next = ownChanges(before, next, manager);
  }
  if (request.isDryRun) return next;
  return objects.update(resource, plain(next) as KubeObject);
}

function keptMetadata(before: KubeObject, given: KubeObject["metadata"]): KubeObject["metadata"] {
  const { labels, annotations, finalizers, ownerReferences } = given;
  const {
    labels: _l,
    annotations: _a,
    finalizers: _f,
    ownerReferences: _o,
    ...kept
  } = before.metadata;
  const isGone = before.metadata.deletionTimestamp !== undefined;
  // Nothing may be added to what holds an object back once it is to go.
  const allowed = isGone
    ? finalizers?.filter((one) => before.metadata.finalizers?.includes(one))
    : finalizers;
  const filled = (value: object | undefined): boolean =>
    value !== undefined && Object.keys(value).length > 0;
  return {
    ...kept,
    ...(filled(labels) ? { labels } : {}),
    ...(filled(annotations) ? { annotations } : {}),
    ...(filled(allowed) ? { finalizers: allowed } : {}),
    ...(filled(ownerReferences) ? { ownerReferences } : {}),
  } as KubeObject["metadata"];
}

/** What the server has set and an update may leave out. */
function keepFixed(resource: Resource, next: KubeObject, before: KubeObject): void {
  const [spec, old] = [next["spec"], before["spec"]];
  if (!isJson(spec) || !isJson(old)) return;
  const fields: Partial<Record<Resource, readonly string[]>> = {
    pods: [
      "nodeName",
      "serviceAccountName",
      "serviceAccount",
      "priority",
      "preemptionPolicy",
      "enableServiceLinks",
    ],
    services: ["clusterIP", "clusterIPs"],
    namespaces: ["finalizers"],
    persistentvolumeclaims: ["volumeName", "storageClassName"],
  };
  for (const field of fields[resource] ?? []) {
    if (spec[field] === undefined && old[field] !== undefined) spec[field] = old[field];
  }
}

/** Without fields that are undefined, so that the same is the same. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (!isJson(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== undefined)
      .map(([key, inner]) => [key, plain(inner)]),
  );
}

function unversioned(resource: Resource, name: string): ApiError {
  const problem = cause.invalid("metadata.resourceVersion", 0, "must be specified for an update");
  const { group } = resourceTypes[resource];
  return new ApiError(422, {
    reason: "Invalid",
    message: `${qualified(resource)} "${name}" is invalid: ${problem.field}: ${problem.message}`,
    details: { name, group, kind: resource, causes: [problem] },
  });
}
