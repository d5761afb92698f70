import { isJson, keySegment, keysOfList, type Json } from "./field-set.ts";
import { ApiError, badRequest } from "./status.ts";

/** RFC 7386: null takes away, objects are merged, everything else is replaced. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isJson(patch)) return patch;
  const result: Json = isJson(target) ? { ...target } : {};
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete result[field];
    else result[field] = mergePatch(result[field], value);
  }
  return result;
}

/** As a merge patch, but items of keyed lists are merged, or deleted by `$patch: delete`. */
export function strategicPatch(kind: string, target: unknown, patch: unknown): unknown {
  if (!isJson(patch)) return patch;
  if (patch["$patch"] === "replace") {
    const { $patch: _directive, ...rest } = patch;
    return rest;
  }
  const result: Json = isJson(target) ? { ...target } : {};
  for (const [field, value] of Object.entries(patch)) {
    const old = result[field];
    if (field.startsWith("$setElementOrder/") || field === "$retainKeys") continue;
    if (field.startsWith("$deleteFromPrimitiveList/")) {
      const name = field.slice("$deleteFromPrimitiveList/".length);
      const [list, gone]: [unknown, unknown] = [result[name], value];
      if (Array.isArray(list) && Array.isArray(gone))
        result[name] = list.filter((item) => !gone.includes(item));
    } else if (value === null) delete result[field];
    else if (Array.isArray(value)) result[field] = strategicList(kind, field, old, value);
    else result[field] = strategicPatch(kind, old, value);
  }
  return result;
}

function strategicList(kind: string, field: string, old: unknown, value: unknown[]): unknown[] {
  const before: unknown[] = Array.isArray(old) ? old : [];
  if (field === "finalizers") return [...new Set([...before, ...value])];
  const keys = keysOfList(kind, field, [...value, ...before]);
  if (keys === undefined) return value;
  const items = new Map(before.filter(isJson).map((item) => [keySegment(keys, item), item]));
  for (const item of value.filter(isJson)) {
    const key = keySegment(keys, item);
    if (item["$patch"] === "delete") items.delete(key);
    else items.set(key, strategicPatch(kind, items.get(key), item) as Json);
  }
  return [...items.values()];
}

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

/** RFC 6902. A failed `test` or a path that is not there is a 422. */
export function jsonPatch(target: Json, operations: unknown): Json {
  if (!Array.isArray(operations)) {
    throw badRequest("json: cannot unmarshal object into Go value of type jsonpatch.Patch");
  }
  const root = { root: structuredClone(target) as unknown };
  for (const operation of operations as Operation[]) {
    const { op, path, from = "", value } = operation;
    if (op === "test") {
      if (JSON.stringify(read(root, path)) !== JSON.stringify(value)) {
        throw refused(`testing value ${path} failed: test failed`);
      }
    } else if (op === "remove") write(root, path, "remove");
    else if (op === "add" || op === "replace") {
      if (op === "replace") read(root, path);
      write(root, path, op, value);
    } else if (op === "copy") write(root, path, "add", read(root, from));
    else if (op === "move") {
      const moved = read(root, from);
      write(root, from, "remove");
      write(root, path, "add", moved);
    } else throw badRequest(`Unexpected kind: ${op}`);
  }
  return root.root as Json;
}

function refused(_why: string): ApiError {
  return new ApiError(422, {
    reason: "Invalid",
    message: `the server rejected our request due to an error in our request`,
    details: {},
  });
}

function partsOf(path: string): string[] {
  const parts = path.split("/").slice(1);
  return ["root", ...parts.map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))];
}

function read(root: unknown, path: string): unknown {
  let value = root;
  for (const part of partsOf(path)) {
    const next: unknown =
      typeof value === "object" && value !== null ? (value as Json)[part] : undefined;
    if (next === undefined) throw refused(`doc is missing path: ${path}: missing value`);
    value = next;
  }
  return value;
}

function write(
  root: object,
  path: string,
  op: "add" | "replace" | "remove",
  value?: unknown,
): void {
  const parts = partsOf(path);
  const last = parts.pop() ?? "";
  let at: unknown = root;
  for (const part of parts) at = isJson(at) || Array.isArray(at) ? (at as Json)[part] : undefined;
  if (Array.isArray(at)) {
    const index = last === "-" ? at.length : Number(last);
    if (op === "remove") at.splice(index, 1);
    else if (op === "add") at.splice(index, 0, value);
    else at[index] = value;
  } else if (isJson(at)) {
    if (op === "remove") {
      if (!(last in at))
        throw refused(
          `remove operation does not apply: doc is missing path: ${path}: missing value`,
        );
      delete at[last];
    } else at[last] = value;
  } else
    throw refused(`add operation does not apply: doc is missing path: "${path}": missing value`);
}
