import { isDeepStrictEqual } from "node:util";

import {
  changedPaths,
  fromTree,
  isJson,
  keySegment,
  keysOfList,
  leavesOf,
  setLists,
  textOf,
  toTree,
  type FieldSet,
  type Json,
} from "./field-set.ts";
import { timestamp, type KubeObject } from "./objects.ts";
import { ApiError } from "./status.ts";

type ManagedField = NonNullable<KubeObject["metadata"]["managedFields"]>[number];

export interface Manager {
  readonly name: string;
  readonly operation: "Apply" | "Update";
  readonly subresource?: string;
}

/** Who owns which fields of an object, as its managedFields say. */
class Owners {
  readonly list: { readonly manager: Manager; fields: FieldSet; readonly entry: ManagedField }[];

  constructor(object: KubeObject) {
    this.list = (object.metadata.managedFields ?? []).map((entry) => ({
      manager: {
        name: entry.manager ?? "unknown",
        operation: entry.operation === "Apply" ? ("Apply" as const) : ("Update" as const),
        ...(entry.subresource === undefined ? {} : { subresource: entry.subresource }),
      },
      fields: fromTree(entry.fieldsV1),
      entry,
    }));
  }

  find(manager: Manager): FieldSet {
    return this.list.find((one) => isSame(one.manager, manager))?.fields ?? new Set();
  }

  others(manager: Manager): { manager: Manager; fields: FieldSet }[] {
    return this.list.filter((one) => !isSame(one.manager, manager));
  }

  set(manager: Manager, fields: FieldSet): void {
    const known = this.list.find((one) => isSame(one.manager, manager));
    if (known !== undefined) known.fields = fields;
    else this.list.push({ manager, fields, entry: {} });
  }

  /** An entry that owns the same as before keeps its time. */
  write(object: KubeObject): ManagedField[] {
    return this.list
      .filter(({ fields }) => fields.size > 0)
      .map(({ manager, fields, entry }) => {
        const fieldsV1 = toTree(fields);
        if (isDeepStrictEqual(entry.fieldsV1, fieldsV1)) return entry;
        return {
          manager: manager.name,
          operation: manager.operation,
          apiVersion: object.apiVersion,
          time: timestamp(),
          fieldsType: "FieldsV1",
          fieldsV1,
          ...(manager.subresource === undefined ? {} : { subresource: manager.subresource }),
        };
      });
  }
}

function isSame(one: Manager, other: Manager): boolean {
  return (
    one.name === other.name &&
    one.operation === other.operation &&
    one.subresource === other.subresource
  );
}

/** After a create, update or patch: what was changed belongs to the one who changed it. */
export function ownChanges(
  before: KubeObject | undefined,
  after: KubeObject,
  manager: Manager,
): KubeObject {
  const { set, gone } = changedPaths(before ?? { metadata: {} }, after);
  if (set.size === 0 && gone.size === 0) return after;
  const owners = new Owners(
    before ?? { ...after, metadata: { ...after.metadata, managedFields: [] } },
  );
  for (const one of owners.list) one.fields = minus(minus(one.fields, gone), set);
  owners.set(manager, new Set([...owners.find(manager), ...set]));
  return withOwners(after, owners);
}

/** After an apply that creates: everything given belongs to the one who applied. */
export function ownApplied(applied: KubeObject, created: KubeObject, manager: Manager): KubeObject {
  const owners = new Owners({ ...created, metadata: { ...created.metadata, managedFields: [] } });
  owners.set(manager, new Set(leavesOf(applied).keys()));
  return withOwners(created, owners);
}

function withOwners(object: KubeObject, owners: Owners): KubeObject {
  return { ...object, metadata: { ...object.metadata, managedFields: owners.write(object) } };
}

/**
 * Merges what a manager applies into the live object. Throws 409 for fields of others that would
 * change, unless forced; takes away what the manager applied before and now leaves out.
 */
export function applyTo(
  live: KubeObject,
  applied: KubeObject,
  options: { manager: Manager; isForced: boolean },
): KubeObject {
  const { manager } = options;
  const owners = new Owners(live);
  const [wanted, now] = [leavesOf(applied), leavesOf(live)];
  const changed = [...wanted].filter(
    ([path, value]) => !isDeepStrictEqual(now.get(path), value) || !now.has(path),
  );
  const changes = new Set(changed.map(([path]) => path));
  const conflicts = owners
    .others(manager)
    .flatMap((one) =>
      [...one.fields].filter((path) => changes.has(path)).map((path) => ({ one, path })),
    );
  if (conflicts.length > 0 && !options.isForced) throw conflictOf(live.apiVersion, conflicts);
  for (const { one, path } of conflicts) one.fields.delete(path);

  const left = minus(owners.find(manager), new Set(wanted.keys()));
  const taken = new Set(owners.others(manager).flatMap((one) => [...one.fields]));
  owners.set(manager, new Set(wanted.keys()));
  const merged = merge(live.kind, { ...live }, withoutIdentity(applied), "");
  const result = removePaths(merged, minus(left, taken), live.kind) as KubeObject;
  return withOwners({ ...result, metadata: { ...result.metadata } }, owners);
}

function withoutIdentity(applied: KubeObject): Json {
  const { labels, annotations, finalizers, ownerReferences } = applied.metadata;
  const metadata = Object.fromEntries(
    Object.entries({ labels, annotations, finalizers, ownerReferences }).filter(
      ([, value]) => value !== undefined,
    ),
  );
  return { ...applied, metadata };
}

function conflictOf(
  version: string,
  conflicts: readonly { one: { manager: Manager }; path: string }[],
): ApiError {
  const found = conflicts.map(({ one, path }) => ({
    who: nameOf(one.manager, version),
    field: textOf(path),
  }));
  const causes = found.map(({ who, field }) => ({
    reason: "FieldManagerConflict",
    message: `conflict with ${who}`,
    field,
  }));
  const [first] = found;
  const isOne = found.length === 1;
  const lines = [...new Set(found.map(({ who }) => who))]
    .toSorted()
    .flatMap((who) => [
      `conflicts with ${who}:`,
      ...found.filter((one) => one.who === who).map(({ field }) => `- ${field}`),
    ]);
  const text = isOne ? `conflict with ${first?.who}: ${first?.field}` : lines.join("\n");
  return new ApiError(409, {
    reason: "Conflict",
    message: `Apply failed with ${found.length} conflict${isOne ? "" : "s"}: ${text}`,
    details: { causes },
  });
}

function nameOf({ name, operation, subresource }: Manager, version: string): string {
  if (operation === "Apply") return JSON.stringify(name);
  const part = subresource === undefined ? "" : ` with subresource ${JSON.stringify(subresource)}`;
  return `${JSON.stringify(name)}${part} using ${version}`;
}

/** Items of keyed lists are merged one by one, sets are united, everything else is replaced. */
function merge(kind: string, live: Json, applied: Json, _field: string): Json {
  const result: Json = { ...live };
  for (const [field, value] of Object.entries(applied)) {
    const old = live[field];
    if (isJson(value) && isJson(old)) result[field] = merge(kind, old, value, field);
    else if (Array.isArray(value) && Array.isArray(old))
      result[field] = mergeList(kind, field, old, value);
    else result[field] = value;
  }
  return result;
}

function mergeList(
  kind: string,
  field: string,
  old: readonly unknown[],
  value: readonly unknown[],
): unknown[] {
  if (setLists.has(field)) return [...new Set([...old, ...value])];
  const keys = keysOfList(kind, field, value);
  if (keys === undefined) return [...value];
  const items = value.filter(isJson);
  const known = new Map(old.filter(isJson).map((item) => [keySegment(keys, item), item]));
  const merged = items.map((item) => {
    const before = known.get(keySegment(keys, item));
    known.delete(keySegment(keys, item));
    return before === undefined ? item : merge(kind, before, item, field);
  });
  return [...known.values(), ...merged];
}

function removePaths(object: Json, paths: FieldSet, kind: string): Json {
  let result = object;
  for (const path of paths) result = removeAt(result, JSON.parse(path) as string[], kind) as Json;
  return result;
}

function removeAt(value: unknown, path: readonly string[], kind: string, field = ""): unknown {
  const [segment = "", ...rest] = path;
  if (segment.startsWith("f:") && isJson(value)) {
    const name = segment.slice(2);
    const { [name]: inner, ...others } = value;
    if (rest.length === 0 || inner === undefined) return others;
    const left = removeAt(inner, rest, kind, name);
    const isEmpty = left === undefined || (isJson(left) && Object.keys(left).length === 0);
    return isEmpty ? others : { ...value, [name]: left };
  }
  if (!Array.isArray(value)) return value;
  const items = value as unknown[];
  if (segment.startsWith("v:"))
    return items.filter((item) => `v:${JSON.stringify(item)}` !== segment);
  const keys = keysOfList(kind, field, items) ?? [];
  return items.flatMap((item): unknown[] => {
    if (!isJson(item) || keySegment(keys, item) !== segment) return [item];
    return rest[0] === "." ? [] : [removeAt(item, rest, kind)];
  });
}

function minus(fields: FieldSet, taken: ReadonlySet<string>): FieldSet {
  return new Set([...fields].filter((path) => !taken.has(path)));
}
