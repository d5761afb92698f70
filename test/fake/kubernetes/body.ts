import { parse } from "yaml";

import { isJson, type Json } from "./field-set.ts";
import type { KubeObject } from "./objects.ts";
import type { ApiRequest } from "./request.ts";
import { apiVersionOf, resourceTypes, type Resource } from "./resources.ts";
import { readObject, WrongType, type Reading } from "./schema.ts";
import { badRequest, undecodable, unknownFormat } from "./status.ts";

const jsonTypes = new Set(["", "application/json"]);
const yamlTypes = new Set(["application/yaml", "application/apply-patch+yaml"]);

/** The body of a create or update as plain JSON. */
export function bodyOf(request: ApiRequest, kind: string): Json {
  const { contentType } = request;
  if (!jsonTypes.has(contentType) && !yamlTypes.has(contentType)) throw unknownFormat();
  return parseBody(request, kind);
}

export function parseBody({ body, contentType }: ApiRequest, kind: string): Json {
  const text = body.toString();
  const refuse = (why: string): Error =>
    badRequest(
      `the object provided is unrecognized (must be of type ${kind}): couldn't get version/kind; json parse error: ${why} (${text.slice(0, 200)})`,
    );
  let value: unknown;
  try {
    value = yamlTypes.has(contentType) ? parse(text) : JSON.parse(text);
  } catch {
    // The real one reads with Go's words.
    const isCut = !/[}\]]\s*$/.test(text);
    throw refuse(isCut ? "unexpected end of JSON input" : "invalid character in JSON");
  }
  if (!isJson(value) && !Array.isArray(value)) {
    throw refuse(
      "json: cannot unmarshal into Go value of type struct { APIVersion string; Kind string }",
    );
  }
  return value as Json;
}

/** Reads an object by its model. Unknown fields are refused or become warnings, as the call asks. */
export function decode(
  resource: Resource,
  input: Json,
  request: Pick<ApiRequest, "query" | "warnings">,
): { object: KubeObject; missing: readonly string[] } {
  const type = resourceTypes[resource];
  const version = apiVersionOf(type);
  const given = {
    kind: typeof input["kind"] === "string" ? input["kind"] : type.kind,
    version: input["apiVersion"] ?? version,
  };
  if (given.kind !== type.kind || given.version !== version) {
    const [kind, own] = [given.kind, type.group === "" ? "core" : type.group.split(".")[0]];
    throw badRequest(
      `${kind} in version ${JSON.stringify(given.version)} cannot be handled as a ${type.kind}: converting (v1.${kind}) to (${own}.${type.kind}): unknown conversion`,
    );
  }
  const { value, missing } = readStrictly(input, type.model, {
    request,
    refuse: (why) => undecodable(resource, why),
  });
  const metadata = isJson(value["metadata"]) ? value["metadata"] : {};
  const object = { ...value, kind: type.kind, apiVersion: version, metadata };
  return { object: object as KubeObject, missing };
}

export function readStrictly(
  input: Json,
  model: string,
  options: { request: Pick<ApiRequest, "query" | "warnings">; refuse: (why: string) => Error },
): Reading {
  let reading: Reading;
  try {
    reading = readObject(model, input);
  } catch (error) {
    if (error instanceof WrongType) throw options.refuse(error.message);
    throw error;
  }
  const texts = reading.unknown.map((path) => `unknown field "${path}"`);
  const mode = options.request.query.get("fieldValidation") ?? "Warn";
  if (texts.length > 0 && mode === "Strict")
    throw options.refuse(`strict decoding error: ${texts.join(", ")}`);
  if (mode === "Warn") options.request.warnings.push(...texts);
  return reading;
}
