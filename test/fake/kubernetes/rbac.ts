import type { Rule } from "./default-roles.ts";
import type { KubeObject, Objects } from "./objects.ts";
import type { Target, User, Verb } from "./request.ts";
import { resourceOf } from "./request.ts";
import { isResource, resourceTypes, type Resource } from "./resources.ts";
import { ApiError, forbidden } from "./status.ts";

export interface Attributes {
  readonly verb: string;
  readonly group: string;
  /** With the subresource: `pods/log`. */
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
}

interface Subject {
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

interface Binding extends KubeObject {
  readonly subjects?: readonly Subject[];
  readonly roleRef: { readonly kind: string; readonly name: string };
}

/** Whether any rule that is bound to the user lets the call through. */
export function isAllowed(objects: Objects, user: User, attributes: Attributes): boolean {
  if (user.groups.includes("system:masters")) return true;
  return rulesOf(objects, user, attributes.namespace).some((rule) => covers(rule, attributes));
}

export function isPathAllowed(objects: Objects, user: User, path: string): boolean {
  if (user.groups.includes("system:masters")) return true;
  return rulesOf(objects, user, "").some(
    (rule) =>
      hasOneOf(rule.verbs, "get") &&
      (rule.nonResourceURLs ?? []).some(
        (url) => url === path || (url.endsWith("*") && path.startsWith(url.slice(0, -1))),
      ),
  );
}

/** Throws 403 with the verb, resource and namespace that are missing. */
export function authorize(objects: Objects, user: User, verb: Verb, target: Target): void {
  const resource =
    target.subresource === "" ? target.plural : `${target.plural}/${target.subresource}`;
  const { group, namespace, name } = target;
  const within = target.plural === "namespaces" ? name : namespace;
  if (isAllowed(objects, user, { verb, group, resource, namespace: within, name })) return;
  const where = within === "" ? "at the cluster scope" : `in the namespace "${within}"`;
  const why = `User "${user.name}" cannot ${verb} resource "${resource}" in API group "${group}" ${where}`;
  const known = resourceOf(target);
  if (known !== undefined) throw forbidden(known, name, why);
  const what = group === "" ? target.plural : `${target.plural}.${group}`;
  throw new ApiError(403, {
    reason: "Forbidden",
    message: `${what} is forbidden: ${why}`,
    details: { group, kind: target.plural },
  });
}

export function authorizePath(objects: Objects, user: User, path: string): void {
  if (isPathAllowed(objects, user, path)) return;
  throw new ApiError(403, {
    reason: "Forbidden",
    message: `forbidden: User "${user.name}" cannot get path "${path}"`,
    details: {},
  });
}

/** The rules that hold for the user, cluster-wide and in the namespace. */
export function rulesOf(objects: Objects, user: User, namespace: string): readonly Rule[] {
  const rules: Rule[] = [];
  for (const binding of objects.list("clusterrolebindings") as KubeObject[] as Binding[]) {
    if (isBound(binding, user)) rules.push(...rulesOfRole(objects, binding.roleRef, ""));
  }
  if (namespace === "") return rules;
  for (const binding of objects.list("rolebindings", namespace) as KubeObject[] as Binding[]) {
    if (isBound(binding, user)) rules.push(...rulesOfRole(objects, binding.roleRef, namespace));
  }
  return rules;
}

function isBound(binding: Binding, user: User): boolean {
  return (binding.subjects ?? []).some((subject) => {
    if (subject.kind === "User") return subject.name === user.name;
    if (subject.kind === "Group") return user.groups.includes(subject.name);
    const namespace = subject.namespace ?? binding.metadata.namespace ?? "";
    return user.name === `system:serviceaccount:${namespace}:${subject.name}`;
  });
}

/** None for a role that does not exist: such a binding gives nothing yet. */
function rulesOfRole(
  objects: Objects,
  ref: { kind: string; name: string },
  namespace: string,
): readonly Rule[] {
  const role: KubeObject | undefined =
    ref.kind === "ClusterRole"
      ? objects.get("clusterroles", ref.name)
      : objects.get("roles", ref.name, namespace);
  return (role?.["rules"] as readonly Rule[] | undefined) ?? [];
}

function covers(rule: Rule, wanted: Attributes): boolean {
  return (
    hasOneOf(rule.verbs, wanted.verb) &&
    hasOneOf(rule.apiGroups ?? [], wanted.group) &&
    coversResource(rule.resources ?? [], wanted.resource) &&
    ((rule.resourceNames ?? []).length === 0 || rule.resourceNames?.includes(wanted.name) === true)
  );
}

function hasOneOf(list: readonly string[], wanted: string): boolean {
  return list.includes("*") || list.includes(wanted);
}

function coversResource(list: readonly string[], wanted: string): boolean {
  if (hasOneOf(list, wanted)) return true;
  const [, subresource] = wanted.split("/");
  return subresource !== undefined && list.includes(`*/${subresource}`);
}

/**
 * Refuses to grant what the writer of a role or binding does not hold. `before` is the stored
 * object of an update: what it had before may stay.
 */
export function checkEscalation(
  objects: Objects,
  user: User,
  write: { resource: Resource; object: KubeObject; before: KubeObject | undefined },
): void {
  const { resource, object, before } = write;
  if (!isResource(resource) || resourceTypes[resource].group !== "rbac.authorization.k8s.io")
    return;
  if (user.groups.includes("system:masters")) return;
  const namespace = object.metadata.namespace ?? "";
  const { name } = object.metadata;
  const group = "rbac.authorization.k8s.io";
  let granted: readonly Rule[];
  if (resource === "roles" || resource === "clusterroles") {
    if (before !== undefined && same(before["rules"], object["rules"])) return;
    const attributes = { verb: "escalate", group, resource, namespace, name };
    if (isAllowed(objects, user, attributes)) return;
    granted = (object["rules"] as readonly Rule[] | undefined) ?? [];
  } else {
    const { roleRef } = object as Binding;
    if (
      before !== undefined &&
      same([before["roleRef"], before["subjects"]], [roleRef, object["subjects"]])
    )
      return;
    const kind = roleRef.kind === "ClusterRole" ? "clusterroles" : "roles";
    const attributes = { verb: "bind", group, resource: kind, namespace, name: roleRef.name };
    if (isAllowed(objects, user, attributes)) return;
    const role =
      kind === "clusterroles"
        ? objects.get("clusterroles", roleRef.name)
        : objects.get("roles", roleRef.name, namespace);
    if (role === undefined) {
      throw new ApiError(404, {
        reason: "NotFound",
        message: `${kind}.${group} "${roleRef.name}" not found`,
        details: { name: roleRef.name, group, kind },
      });
    }
    granted = rulesOfRole(objects, roleRef, namespace);
  }
  const held = rulesOf(objects, user, namespace);
  const lacking = granted
    .flatMap(breakDown)
    .filter((one) => !held.some((rule) => coversRule(rule, one)));
  if (lacking.length === 0) return;
  const groups = user.groups.map((one) => JSON.stringify(one)).join(" ");
  throw forbidden(
    resource,
    name,
    `user "${user.name}" (groups=[${groups}]) is attempting to grant RBAC permissions not currently held:\n${describe(lacking).join("\n")}`,
  );
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one ?? null) === JSON.stringify(other ?? null);
}

interface Single {
  readonly verb: string;
  readonly group?: string;
  readonly resource?: string;
  readonly resourceName?: string;
  readonly url?: string;
}

function breakDown(rule: Rule): Single[] {
  const names: readonly (string | undefined)[] =
    (rule.resourceNames ?? []).length === 0 ? [undefined] : (rule.resourceNames ?? []);
  const resources = (rule.apiGroups ?? []).flatMap((group) =>
    (rule.resources ?? []).flatMap((resource) =>
      names.flatMap((name) =>
        rule.verbs.map((verb) => ({
          verb,
          group,
          resource,
          ...(name === undefined ? {} : { resourceName: name }),
        })),
      ),
    ),
  );
  const urls = (rule.nonResourceURLs ?? []).flatMap((url) =>
    rule.verbs.map((verb) => ({ verb, url })),
  );
  return [...resources, ...urls];
}

function coversRule(rule: Rule, one: Single): boolean {
  if (!hasOneOf(rule.verbs, one.verb)) return false;
  if (one.url !== undefined)
    return (rule.nonResourceURLs ?? []).some((url) => url === "*" || url === one.url);
  if (!hasOneOf(rule.apiGroups ?? [], one.group ?? "")) return false;
  if (!coversResource(rule.resources ?? [], one.resource ?? "")) return false;
  const names = rule.resourceNames ?? [];
  return names.length === 0 || (one.resourceName !== undefined && names.includes(one.resourceName));
}

/** One line per group, resource and name, with all its verbs; sorted. */
function describe(lacking: readonly Single[]): string[] {
  const verbs = new Map<string, string[]>();
  for (const one of lacking) {
    const text =
      one.url === undefined
        ? `APIGroups:["${one.group}"], Resources:["${one.resource}"]${one.resourceName === undefined ? "" : `, ResourceNames:["${one.resourceName}"]`}`
        : `NonResourceURLs:["${one.url}"]`;
    const known = verbs.get(text) ?? [];
    if (!known.includes(one.verb)) verbs.set(text, [...known, one.verb]);
  }
  return [...verbs]
    .map(([text, list]) => `{${text}, Verbs:[${list.map((verb) => `"${verb}"`).join(" ")}]}`)
    .toSorted((one, other) => (one < other ? -1 : 1));
}
