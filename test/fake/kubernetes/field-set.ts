import { isDeepStrictEqual } from "node:util";

/**
 * Fields as managedFields name them. A path is the list of segments `f:name`, `k:{"name":"a"}` and
 * `v:"text"`, kept as JSON text so that it can be in a Set.
 */
export type FieldSet = Set<string>;

export type Json = Record<string, unknown>;

/** Which fields make an item of this list itself; undefined for a list that is one value. */
export function keysOfList(
  kind: string,
  field: string,
  items: readonly unknown[],
): readonly string[] | undefined {
  const keys = listKeys[field];
  if (keys !== undefined) return keys;
  if (field !== "ports") return undefined;
  const first = items.find(isJson);
  if (first !== undefined && "containerPort" in first) return ["containerPort", "protocol"];
  return kind === "Service" ? ["port", "protocol"] : undefined;
}

const listKeys: Readonly<Record<string, readonly string[]>> = {
  containers: ["name"],
  initContainers: ["name"],
  ephemeralContainers: ["name"],
  volumes: ["name"],
  env: ["name"],
  imagePullSecrets: ["name"],
  secrets: ["name"],
  volumeMounts: ["mountPath"],
  volumeDevices: ["devicePath"],
  ownerReferences: ["uid"],
  conditions: ["type"],
  hostAliases: ["ip"],
  topologySpreadConstraints: ["topologyKey", "whenUnsatisfiable"],
};

/** Lists of texts that are sets, each item with its owner. */
export const setLists: ReadonlySet<string> = new Set(["finalizers"]);

/** Objects that have one owner as a whole. */
const atomic: ReadonlySet<string> = new Set([
  "selector",
  "nodeSelector",
  "roleRef",
  "labelSelector",
  "podSelector",
  "namespaceSelector",
  "secretKeyRef",
  "configMapKeyRef",
  "fieldRef",
  "resourceFieldRef",
]);

/** `metadata` fields that nobody owns. */
const unowned: ReadonlySet<string> = new Set([
  "name",
  "namespace",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "managedFields",
  "selfLink",
  "generateName",
]);

/** All leaves of an object with their values. */
export function leavesOf(object: Json): Map<string, unknown> {
  const leaves = new Map<string, unknown>();
  const kind = String(object["kind"]);
  for (const [field, value] of Object.entries(object)) {
    if (field === "kind" || field === "apiVersion") continue;
    if (field === "metadata" && isJson(value)) {
      for (const [name, inner] of Object.entries(value)) {
        if (!unowned.has(name)) walk(kind, name, inner, ["f:metadata", `f:${name}`]);
      }
    } else walk(kind, field, value, [`f:${field}`]);
  }
  return leaves;

  function walk(in_: string, field: string, value: unknown, path: readonly string[]): void {
    if (value === undefined) return;
    if (isJson(value) && !atomic.has(field) && Object.keys(value).length > 0) {
      for (const [name, inner] of Object.entries(value))
        walk(in_, name, inner, [...path, `f:${name}`]);
      return;
    }
    if (Array.isArray(value)) {
      if (setLists.has(field)) {
        for (const item of value)
          leaves.set(JSON.stringify([...path, `v:${JSON.stringify(item)}`]), item);
        return;
      }
      const keys = keysOfList(in_, field, value);
      if (keys !== undefined && value.length > 0) {
        for (const item of value.filter(isJson)) {
          const itemPath = [...path, keySegment(keys, item)];
          leaves.set(JSON.stringify([...itemPath, "."]), undefined);
          for (const [name, inner] of Object.entries(item))
            walk(in_, name, inner, [...itemPath, `f:${name}`]);
        }
        return;
      }
    }
    leaves.set(JSON.stringify(path), value);
  }
}

export function keySegment(keys: readonly string[], item: Json): string {
  const key = Object.fromEntries(keys.map((name) => [name, item[name] ?? defaultKey(name)]));
  return `k:${JSON.stringify(key)}`;
}

function defaultKey(name: string): unknown {
  return name === "protocol" ? "TCP" : undefined;
}

/** The paths whose value differs between two objects; those that went away included. */
export function changedPaths(before: Json, after: Json): { set: FieldSet; gone: FieldSet } {
  const [old, now] = [leavesOf(before), leavesOf(after)];
  const set = [...now].filter(
    ([path, value]) => !old.has(path) || !isDeepStrictEqual(old.get(path), value),
  );
  const gone = [...old.keys()].filter((path) => !now.has(path));
  return { set: new Set(set.map(([path]) => path)), gone: new Set(gone) };
}

/** `.spec.containers[name="worker"].image`, as conflicts name it. */
export function textOf(path: string): string {
  const segments = JSON.parse(path) as string[];
  return segments
    .map((segment) => {
      if (segment === ".") return "";
      if (segment.startsWith("f:")) return `.${segment.slice(2)}`;
      if (segment.startsWith("v:")) return `[=${segment.slice(2)}]`;
      const key = JSON.parse(segment.slice(2)) as Json;
      return `[${Object.entries(key)
        .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
        .join(",")}]`;
    })
    .join("");
}

/** The tree of `fieldsV1`. */
export function toTree(fields: FieldSet): Json {
  const tree: Json = {};
  for (const path of fields) {
    let at = tree;
    for (const segment of JSON.parse(path) as string[]) {
      const next = at[segment];
      if (isJson(next)) at = next;
      else at = at[segment] = {} as Json;
    }
  }
  return tree;
}

export function fromTree(tree: unknown): FieldSet {
  const fields: FieldSet = new Set();
  if (isJson(tree)) walk(tree, []);
  return fields;

  function walk(at: Json, path: readonly string[]): void {
    const entries = Object.entries(at);
    if (entries.length === 0 && path.length > 0) fields.add(JSON.stringify(path));
    for (const [segment, inner] of entries) if (isJson(inner)) walk(inner, [...path, segment]);
  }
}

export function isJson(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
