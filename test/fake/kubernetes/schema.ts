import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import * as models from "@kubernetes/client-node";

import { canonicalQuantity, isQuantity } from "./quantity.ts";

interface Field {
  readonly name: string;
  readonly type: string;
  readonly format: string;
  readonly isRequired: boolean;
}

type Fields = ReadonlyMap<string, Field>;

/** What reading an object against the models has found. */
export interface Reading {
  /** Without the unknown fields, without nulls. */
  readonly value: Record<string, unknown>;
  /** `spec.restartpolicy`, with the indices of lists. */
  readonly unknown: readonly string[];
  /** Paths of fields that must be there and are not. */
  readonly missing: readonly string[];
}

/** The JSON does not fit the model at all; a real server answers 400. */
export class WrongType extends Error {}

/** Reads an object as the model of the client library says it is. */
export function readObject(model: string, input: object): Reading {
  const unknown: string[] = [];
  const missing: string[] = [];
  const value = readModel(model, input as Record<string, unknown>, "", {
    struct: "",
    unknown,
    missing,
  });
  return { value, unknown, missing };
}

interface Findings {
  /** The Go struct that is being read. */
  struct: string;
  readonly unknown: string[];
  readonly missing: string[];
}

function readModel(
  model: string,
  input: Record<string, unknown>,
  path: string,
  findings: Findings,
): Record<string, unknown> {
  const fields = fieldsOf(model);
  const output: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(input)) {
    findings.struct = model.replace(/^(?:CoreV1|V\d)/, "");
    const field = fields.get(key);
    const at = path === "" ? key : `${path}.${key}`;
    if (field === undefined) findings.unknown.push(at);
    else if (value !== null && value !== undefined) output[key] = read(field, value, at, findings);
  }
  // What the server reports is never asked for.
  if (path === "status" || path.startsWith("status.")) return output;
  for (const field of fields.values()) {
    if (field.isRequired && isMissing(output[field.name])) {
      findings.missing.push(path === "" ? field.name : `${path}.${field.name}`);
    }
  }
  return output;
}

function isMissing(value: unknown): boolean {
  return value === undefined || value === "";
}

function read(field: Field, value: unknown, path: string, findings: Findings): unknown {
  const { type } = field;
  const list = /^(?:Array|Set)<(.*)>$/.exec(type)?.[1];
  if (list !== undefined) {
    if (!Array.isArray(value)) throw wrong(value, `${findings.struct}.${path}`, `[]${list}`);
    return value.map((item: unknown, index) =>
      read({ ...field, type: list }, item, `${path}[${index}]`, findings),
    );
  }
  const map = /^\{ \[key: string\]: (.*); \}$/.exec(type)?.[1];
  if (map !== undefined) {
    if (!isObject(value)) throw wrong(value, `${findings.struct}.${path}`, `map[string]${map}`);
    const entries = Object.entries(value).map(([key, item]) => [
      key,
      readEntry({ ...field, type: map }, item, `${path}.${key}`, findings),
    ]);
    return Object.fromEntries(entries);
  }
  if (type.startsWith("V") || type in models) {
    if (type === "V1MicroTime") return readScalar("string", value, `${findings.struct}.${path}`);
    if (!isObject(value)) throw wrong(value, `${findings.struct}.${path}`, type);
    return readModel(type, value, path, findings);
  }
  return readScalar(type, value, `${findings.struct}.${path}`, field.format);
}

const quantities =
  /\.(limits|requests|hard|used|capacity|allocatable|overhead|max|min|default|defaultRequest|maxLimitRequestRatio)\.[^.]/;

function readEntry(field: Field, value: unknown, path: string, findings: Findings): unknown {
  if (field.type === "string" && quantities.test(path.replace(/\[\d+\]/g, ""))) {
    const text = typeof value === "number" ? String(value) : value;
    if (typeof text !== "string" || !isQuantity(text)) throw new WrongType(quantityProblem);
    return canonicalQuantity(text);
  }
  if (field.format === "byte" && typeof value === "string") checkBase64(value);
  return read(field, value, path, findings);
}

const quantityProblem =
  "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

function checkBase64(text: string): void {
  const plain = text.replace(/[\r\n]/g, "");
  if (/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(plain)) return;
  const bad = /[^A-Za-z0-9+/]/.exec(plain)?.index ?? plain.length - (plain.length % 4);
  throw new WrongType(`illegal base64 data at input byte ${bad}`);
}

function readScalar(type: string, value: unknown, path: string, format = ""): unknown {
  switch (type) {
    case "string":
    case "Date":
      if (typeof value === "string") return value;
      break;
    case "number":
      if (typeof value === "number" && (format === "double" || Number.isInteger(value))) {
        return value;
      }
      break;
    case "boolean":
      if (typeof value === "boolean") return value;
      break;
    case "IntOrString":
      if (typeof value === "string" || typeof value === "number") return value;
      break;
    default:
      return value;
  }
  throw wrong(
    value,
    path,
    type === "number" ? format || "int32" : type === "boolean" ? "bool" : type,
  );
}

function wrong(value: unknown, path: string, type: string): WrongType {
  const got = Array.isArray(value) ? "array" : typeof value === "boolean" ? "bool" : typeof value;
  const field = path.replace(/\[\d+\]/g, "");
  return new WrongType(
    `json: cannot unmarshal ${got} into Go struct field ${field} of type ${type}`,
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const known = new Map<string, Fields>();

/** From the generated model: its table of fields, and from its declaration which are required. */
function fieldsOf(model: string): Fields {
  const cached = known.get(model);
  if (cached !== undefined) return cached;
  const made: unknown = (models as Record<string, unknown>)[model];
  if (!hasTable(made)) throw new Error(`the client library has no model ${model}`);
  const required = requiredOf(model);
  const fields = new Map(
    made
      .getAttributeTypeMap()
      .map(({ name, baseName, type, format }) => [
        baseName,
        { name: baseName, type, format, isRequired: required.has(name) },
      ]),
  );
  known.set(model, fields);
  return fields;
}

function hasTable(value: unknown): value is {
  getAttributeTypeMap(): { name: string; baseName: string; type: string; format: string }[];
} {
  return typeof value === "function" && "getAttributeTypeMap" in value;
}

const modelFolder = join(
  dirname(createRequire(import.meta.url).resolve("@kubernetes/client-node")),
  "gen/models",
);

/** Marked as required by the models, but a real server takes the object without. */
const lenient: Readonly<Record<string, readonly string[]>> = {
  CoreV1Event: ["metadata"],
  V1ServiceAccountTokenProjection: [],
  V1TokenRequestSpec: ["audiences"],
  AuthenticationV1TokenRequest: ["spec"],
  V1PodTemplateSpec: ["metadata"],
};

function requiredOf(model: string): ReadonlySet<string> {
  const text = readFileSync(join(modelFolder, `${model}.d.ts`), "utf8");
  const names = [...text.matchAll(/^ {4}'(\w+)': /gm)].map(([, name = ""]) => name);
  return new Set(names.filter((name) => !(lenient[model] ?? []).includes(name)));
}
