import type { KubeObject } from "./objects.ts";
import type { Resource } from "./resources.ts";
import { badRequest } from "./status.ts";

export type Matches = (object: KubeObject) => boolean;

interface Requirement {
  readonly key: string;
  readonly operator: "in" | "notin" | "exists" | "absent";
  readonly values: readonly string[];
}

/** The selector of a list, watch or deletecollection; both halves must match. */
export function selectorOf(resource: Resource, query: URLSearchParams): Matches {
  const labels = labelSelector(query.get("labelSelector") ?? "");
  const fields = fieldSelector(resource, query.get("fieldSelector") ?? "");
  return (object) => labels(object.metadata.labels ?? {}) && fields(object);
}

export function labelSelector(text: string): (labels: Readonly<Record<string, string>>) => boolean {
  const requirements = splitOutside(text).map(requirementOf);
  return (labels) => requirements.every((one) => isMet(one, labels));
}

/** A selector inside an object: `matchLabels` and `matchExpressions`. */
export function matchesSelector(
  selector: {
    matchLabels?: Record<string, string>;
    matchExpressions?: { key: string; operator: string; values?: string[] }[];
  },
  labels: Readonly<Record<string, string>>,
): boolean {
  const operators = { In: "in", NotIn: "notin", Exists: "exists", DoesNotExist: "absent" } as const;
  return (
    Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value) &&
    (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) =>
      isMet(
        { key, operator: operators[operator as keyof typeof operators] ?? "exists", values },
        labels,
      ),
    )
  );
}

function isMet(one: Requirement, labels: Readonly<Record<string, string>>): boolean {
  const value = labels[one.key];
  if (one.operator === "exists") return value !== undefined;
  if (one.operator === "absent") return value === undefined;
  if (one.operator === "in") return value !== undefined && one.values.includes(value);
  return value === undefined || !one.values.includes(value);
}

/** At commas, but not at those inside of parentheses. */
function splitOutside(text: string): string[] {
  return text
    .split(/,(?![^(]*\))/)
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function requirementOf(part: string): Requirement {
  const set = /^(\S+)\s+(in|notin)\s*\(([^)]*)\)$/.exec(part);
  if (set !== null) {
    const [, key = "", operator, list = ""] = set;
    const values = list.split(",").map((value) => value.trim());
    return { key, operator: operator === "in" ? "in" : "notin", values };
  }
  const equality = /^([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)$/.exec(part);
  if (equality !== null) {
    const [, key = "", operator, value = ""] = equality;
    return { key, operator: operator === "!=" ? "notin" : "in", values: [value] };
  }
  const presence = /^(!?)\s*([A-Za-z0-9][-A-Za-z0-9_./]*)$/.exec(part);
  if (presence !== null) {
    const [, not, key = ""] = presence;
    return { key, operator: not === "!" ? "absent" : "exists", values: [] };
  }
  throw badRequest(`unable to parse requirement: found '${part}', expected: identifier`);
}

const selectable: Partial<Record<Resource, readonly string[]>> = {
  pods: [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
  ],
  events: [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
  ],
  secrets: ["type"],
  namespaces: ["status.phase"],
  nodes: ["spec.unschedulable"],
};

function fieldSelector(resource: Resource, text: string): Matches {
  const requirements = splitOutside(text).map((part) => {
    const [, key = "", operator = "", value = ""] = /^([^=!]+)(==|=|!=)(.*)$/.exec(part) ?? [];
    if (operator === "")
      throw badRequest(`invalid selector: '${part}'; can't understand '${part}'`);
    const known = ["metadata.name", "metadata.namespace", ...(selectable[resource] ?? [])];
    if (!known.includes(key)) {
      throw badRequest(`field label not supported: ${key}`);
    }
    return { path: key === "source" ? ["source", "component"] : key.split("."), operator, value };
  });
  return (object) =>
    requirements.every(
      ({ path, operator, value }) => (fieldText(object, path) === value) === (operator !== "!="),
    );
}

function fieldText(object: KubeObject, path: readonly string[]): string {
  let value: unknown = object;
  for (const part of path) {
    if (typeof value !== "object" || value === null) return "";
    value = (value as Record<string, unknown>)[part];
  }
  return typeof value === "string" || typeof value === "boolean" ? String(value) : "";
}
