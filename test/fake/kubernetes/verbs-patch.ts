import { applyTo, ownApplied, type Manager } from "./apply.ts";
import { decode, parseBody } from "./body.ts";
import { fillDefaults } from "./defaults.ts";
import { isJson, type Json } from "./field-set.ts";
import type { KubeObject, Objects } from "./objects.ts";
import { jsonPatch, mergePatch, strategicPatch } from "./patch.ts";
import { isTrue, type ApiRequest } from "./request.ts";
import { resourceTypes, type Resource } from "./resources.ts";
import {
  ApiError,
  type Cause,
  badRequest,
  cause,
  notFound,
  unsupportedMediaType,
} from "./status.ts";
import { getObject, prepareCreate, replaceObject, storeCreated, type Answer } from "./verbs.ts";

/** All kinds of PATCH, server-side apply among them. */
export function patchObject(objects: Objects, resource: Resource, request: ApiRequest): Answer {
  const { kind } = resourceTypes[resource];
  if (request.contentType === "application/apply-patch+yaml")
    return applyObject(objects, resource, request);
  if (!patchTypes.has(request.contentType)) throw unsupportedMediaType();
  if (request.query.has("force"))
    throw patchOption(cause.forbidden("force", "may not be specified for non-apply patch"));
  const patch = parseBody(request, kind);
  const before = getObject(objects, resource, request);
  const { managedFields: _managed, ...metadata } = before.metadata;
  const target: Json = { ...before, metadata };
  let patched: unknown;
  if (request.contentType === "application/json-patch+json") patched = jsonPatch(target, patch);
  else if (request.contentType === "application/merge-patch+json")
    patched = mergePatch(target, patch);
  else patched = strategicPatch(kind, target, patch);
  const { object, missing } = decode(resource, patched as Json, request);
  return {
    code: 200,
    body: replaceObject(objects, resource, { request, before, object, missing }),
  };
}

const patchTypes = new Set([
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
]);

function patchOption(problem: Cause): ApiError {
  return new ApiError(422, {
    reason: "Invalid",
    message: `PatchOptions.meta.k8s.io "" is invalid: ${problem.field}: ${problem.message}`,
    details: { group: "meta.k8s.io", kind: "PatchOptions", causes: [problem] },
  });
}

function applyObject(objects: Objects, resource: Resource, request: ApiRequest): Answer {
  const name = request.query.get("fieldManager") ?? "";
  if (name === "") throw patchOption(cause.required("fieldManager", "is required for apply patch"));
  const { kind } = resourceTypes[resource];
  const body = parseBody(request, kind);
  const metadata = isJson(body["metadata"]) ? body["metadata"] : {};
  if (metadata["managedFields"] !== undefined)
    throw badRequest("metadata.managedFields must be nil");
  if (typeof body["kind"] !== "string" || typeof body["apiVersion"] !== "string") {
    throw badRequest("invalid object type: /, Kind=");
  }
  const strict = { query: new URLSearchParams("fieldValidation=Warn"), warnings: [] as string[] };
  const { object: applied, missing } = decode(resource, body, strict);
  if (strict.warnings.length > 0) throw undeclared(resource, applied, strict.warnings);
  const subresource =
    request.target.subresource === "" ? {} : { subresource: request.target.subresource };
  const manager: Manager = { name, operation: "Apply", ...subresource };
  const before = objects.get(resource, request.target.name, request.target.namespace);
  if (before === undefined) {
    if (request.target.subresource !== "") throw notFound(resource, request.target.name);
    applied.metadata.name ??= request.target.name;
    if (applied.metadata.name !== request.target.name) {
      throw badRequest(
        `the name of the object (${applied.metadata.name}) does not match the name on the URL (${request.target.name})`,
      );
    }
    fillDefaultsOfApplied(resource, applied);
    const given = structuredClone(applied);
    const created = prepareCreate(objects, resource, { request, object: applied, missing });
    return {
      code: 201,
      body: storeCreated(objects, resource, {
        request,
        object: ownApplied(given, created, manager),
      }),
    };
  }
  const { uid = "", resourceVersion = "" } = applied.metadata as Partial<KubeObject["metadata"]>;
  fillDefaultsOfApplied(resource, applied);
  const merged = applyTo(before, applied, {
    manager,
    isForced: isTrue(request.query.get("force")),
  });
  if (uid !== "") merged.metadata.uid = uid;
  if (resourceVersion !== "") merged.metadata.resourceVersion = resourceVersion;
  const object = structuredClone(merged);
  return {
    code: 200,
    body: replaceObject(objects, resource, { request, before, object, missing: [], isApply: true }),
  };
}

/** `stringData` has to be folded before it is compared with what is stored. */
function fillDefaultsOfApplied(resource: Resource, applied: KubeObject): void {
  if (resource !== "secrets" || applied["stringData"] === undefined) return;
  const { type } = applied;
  fillDefaults(resource, applied);
  if (type === undefined) delete applied["type"];
}

function undeclared(resource: Resource, applied: KubeObject, unknown: readonly string[]): ApiError {
  const { kind, version, group } = resourceTypes[resource];
  const { namespace = "", name } = applied.metadata;
  const fields = unknown.map(
    (text) => `.${/"(.*)"/.exec(text)?.[1]}: field not declared in schema`,
  );
  return new ApiError(500, {
    message: `failed to create typed patch object (${namespace}/${name}; ${group}/${version}, Kind=${kind}): ${fields.length === 1 ? fields[0] : `errors:\n${fields.map((one) => `  ${one}`).join("\n")}`}`,
  });
}
