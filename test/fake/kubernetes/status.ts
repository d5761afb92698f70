import { apiVersionOf, resourceTypes, type Resource } from "./resources.ts";

export interface Cause {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
}

export interface StatusBody {
  readonly kind: "Status";
  readonly apiVersion: "v1";
  readonly metadata: object;
  readonly status: "Failure" | "Success";
  readonly message?: string;
  readonly reason?: string;
  readonly details?: object;
  readonly code: number;
}

/** A refusal, with the words of a real API server. */
export class ApiError extends Error {
  readonly body: StatusBody;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: number,
    text: { reason?: string; message: string; details?: object },
    headers: Record<string, string> = {},
  ) {
    super(text.message);
    const { reason, message, details } = text;
    this.headers = headers;
    this.body = {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message,
      ...(reason === undefined ? {} : { reason }),
      ...(details === undefined ? {} : { details }),
      code,
    };
  }
}

/** `pods`, or `roles.rbac.authorization.k8s.io`. */
export function qualified(resource: Resource): string {
  const { group } = resourceTypes[resource];
  return group === "" ? resource : `${resource}.${group}`;
}

function detailsOf(resource: Resource, name: string): object {
  const { group } = resourceTypes[resource];
  return {
    ...(name === "" ? {} : { name }),
    ...(group === "" ? {} : { group }),
    kind: resource,
  };
}

export function notFound(resource: Resource, name: string): ApiError {
  return new ApiError(404, {
    reason: "NotFound",
    message: `${qualified(resource)} "${name}" not found`,
    details: detailsOf(resource, name),
  });
}

export function alreadyExists(resource: Resource, name: string): ApiError {
  return new ApiError(409, {
    reason: "AlreadyExists",
    message: `${qualified(resource)} "${name}" already exists`,
    details: detailsOf(resource, name),
  });
}

export function conflict(resource: Resource, name: string, why: string): ApiError {
  return new ApiError(409, {
    reason: "Conflict",
    message: `Operation cannot be fulfilled on ${qualified(resource)} "${name}": ${why}`,
    details: detailsOf(resource, name),
  });
}

export function forbidden(
  resource: Resource,
  name: string,
  why: string,
  causes: readonly Cause[] = [],
): ApiError {
  const what = name === "" ? qualified(resource) : `${qualified(resource)} "${name}"`;
  return new ApiError(403, {
    reason: "Forbidden",
    message: `${what} is forbidden: ${why}`,
    details: { ...detailsOf(resource, name), ...(causes.length === 0 ? {} : { causes }) },
  });
}

export function invalid(resource: Resource, name: string, causes: readonly Cause[]): ApiError {
  const { kind, group } = resourceTypes[resource];
  const texts = causes.map(({ field, message }) => `${field}: ${message}`);
  const what = group === "" ? kind : `${kind}.${group}`;
  return new ApiError(422, {
    reason: "Invalid",
    message: `${what} "${name}" is invalid: ${texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`}`,
    details: { ...(name === "" ? {} : { name }), ...(group === "" ? {} : { group }), kind, causes },
  });
}

/** The body is no object of this kind: unknown fields, wrong types. */
export function undecodable(resource: Resource, why: string): ApiError {
  const type = resourceTypes[resource];
  return badRequest(
    `${type.kind} in version "${apiVersionOf(type).split("/").at(-1)}" cannot be handled as a ${type.kind}: ${why}`,
  );
}

export function badRequest(message: string): ApiError {
  return new ApiError(400, { reason: "BadRequest", message });
}

export function unauthorized(): ApiError {
  return new ApiError(401, { reason: "Unauthorized", message: "Unauthorized" });
}

export function pathNotFound(): ApiError {
  return new ApiError(404, {
    reason: "NotFound",
    message: "the server could not find the requested resource",
    details: {},
  });
}

export function methodNotAllowed(): ApiError {
  return new ApiError(405, {
    reason: "MethodNotAllowed",
    message: "the server does not allow this method on the requested resource",
    details: {},
  });
}

/** A body that is no object at all. */
export function unknownFormat(): ApiError {
  return new ApiError(415, {
    reason: "UnsupportedMediaType",
    message:
      "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
  });
}

export function unsupportedMediaType(): ApiError {
  return new ApiError(415, {
    reason: "UnsupportedMediaType",
    message: "415: Unsupported Media Type",
    details: {},
  });
}

export function expired(message: string): ApiError {
  return new ApiError(410, { reason: "Expired", message });
}

export const cause = {
  invalid: (field: string, value: unknown, why: string): Cause => ({
    reason: "FieldValueInvalid",
    message: `Invalid value: ${JSON.stringify(value)}: ${why}`,
    field,
  }),
  required: (field: string, why = ""): Cause => ({
    reason: "FieldValueRequired",
    message: why === "" ? "Required value" : `Required value: ${why}`,
    field,
  }),
  forbidden: (field: string, why: string): Cause => ({
    reason: "FieldValueForbidden",
    message: `Forbidden: ${why}`,
    field,
  }),
  duplicate: (field: string, value: string): Cause => ({
    reason: "FieldValueDuplicate",
    message: `Duplicate value: ${JSON.stringify(value)}`,
    field,
  }),
  missing: (field: string, value: string): Cause => ({
    reason: "FieldValueNotFound",
    message: `Not found: ${JSON.stringify(value)}`,
    field,
  }),
  unsupported: (field: string, value: string, allowed: readonly string[]): Cause => ({
    reason: "FieldValueNotSupported",
    message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${allowed.map((one) => JSON.stringify(one)).join(", ")}`,
    field,
  }),
};
