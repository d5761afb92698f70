import { isJson } from "./field-set.ts";
import type { KubeObject } from "./objects.ts";
import type { Resource } from "./resources.ts";
import { cause, type Cause } from "./status.ts";
import { metadataProblems } from "./validate-metadata.ts";
import { podUpdateProblems } from "./validate-pod-update.ts";
import { podProblems, podSpecProblems } from "./validate-pod.ts";
import { bindingProblems, roleProblems } from "./validate-rbac.ts";

/** Everything that is wrong with an object; `before` is the stored one of an update. */
export function problemsOf(
  resource: Resource,
  object: KubeObject,
  before: KubeObject | undefined,
): readonly Cause[] {
  return [
    ...metadataProblems(resource, object.metadata),
    ...(before === undefined
      ? createProblems(resource, object)
      : updateProblems(resource, object, before)),
  ];
}

function createProblems(resource: Resource, object: KubeObject): Cause[] {
  switch (resource) {
    case "pods":
      return podProblems(object);
    case "deployments":
    case "daemonsets":
    case "replicasets":
      return workloadProblems(object);
    case "secrets":
    case "configmaps":
      return dataProblems(object);
    case "roles":
    case "clusterroles":
      return roleProblems(object);
    case "rolebindings":
    case "clusterrolebindings":
      return bindingProblems(object);
    case "networkpolicies":
      return networkPolicyProblems(object);
    case "horizontalpodautoscalers":
      return autoscalerProblems(object);
    default:
      return [];
  }
}

function workloadProblems(object: KubeObject): Cause[] {
  const { spec } = object;
  if (!isJson(spec) || !isJson(spec["template"])) return [];
  const { template, selector } = spec;
  const problems = podSpecProblems(template["spec"], "spec.template.spec");
  const metadata = isJson(template["metadata"]) ? template["metadata"] : {};
  const labels = isJson(metadata["labels"]) ? metadata["labels"] : {};
  const wanted = isJson(selector) && isJson(selector["matchLabels"]) ? selector["matchLabels"] : {};
  if (Object.entries(wanted).some(([key, value]) => labels[key] !== value)) {
    problems.push(
      cause.invalid(
        "spec.template.metadata.labels",
        labels,
        "`selector` does not match template `labels`",
      ),
    );
  }
  return problems;
}

function dataProblems(object: KubeObject): Cause[] {
  const data = isJson(object["data"]) ? object["data"] : {};
  const problems = Object.keys(data)
    .filter((key) => !/^[-._a-zA-Z0-9]{1,253}$/.test(key) || key === "." || key === "..")
    .map((key) =>
      cause.invalid(
        `data[${key}]`,
        key,
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
      ),
    );
  const size = Object.values(data).reduce<number>((sum, value) => sum + String(value).length, 0);
  if (size > 1_048_576 * 1.34) {
    problems.push({
      reason: "FieldValueTooLong",
      message: "Too long: may not be more than 1048576 bytes",
      field: "data",
    });
  }
  if (
    object["type"] === "kubernetes.io/dockerconfigjson" &&
    data[".dockerconfigjson"] === undefined
  ) {
    problems.push(cause.required("data[.dockerconfigjson]"));
  }
  if (object["type"] === "kubernetes.io/tls") {
    for (const key of ["tls.crt", "tls.key"]) {
      if (data[key] === undefined) problems.push(cause.required(`data[${key}]`));
    }
  }
  return problems;
}

function networkPolicyProblems(object: KubeObject): Cause[] {
  const { spec } = object;
  if (!isJson(spec)) return [];
  const problems: Cause[] = [];
  for (const [direction, peers] of [
    ["ingress", "from"],
    ["egress", "to"],
  ] as const) {
    const rules: unknown[] = Array.isArray(spec[direction]) ? spec[direction] : [];
    for (const [index, rule] of rules.filter(isJson).entries()) {
      const list: unknown[] = Array.isArray(rule[peers]) ? rule[peers] : [];
      for (const [place, peer] of list.filter(isJson).entries()) {
        const at = `spec.${direction}[${index}].${peers}[${place}]`;
        if (Object.keys(peer).length === 0)
          problems.push(cause.required(at, "must specify a peer"));
        const block = peer["ipBlock"];
        if (isJson(block) && !/^([\d.]+|[0-9a-fA-F:.]+)\/\d{1,3}$/.test(String(block["cidr"]))) {
          problems.push(
            cause.invalid(
              `${at}.ipBlock.cidr`,
              block["cidr"],
              "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            ),
          );
        }
        if (block !== undefined && Object.keys(peer).length > 1) {
          problems.push(cause.forbidden(at, "may not specify both ipBlock and another peer"));
        }
      }
    }
  }
  return problems;
}

function autoscalerProblems({ spec }: KubeObject): Cause[] {
  const target = isJson(spec) && isJson(spec["scaleTargetRef"]) ? spec["scaleTargetRef"] : {};
  if (typeof target["apiVersion"] === "string" && target["apiVersion"].includes("/")) return [];
  const why = "apiVersion must specify API group";
  return [cause.invalid("spec.scaleTargetRef.apiVersion", target["apiVersion"] ?? "", why)];
}

function updateProblems(resource: Resource, object: KubeObject, before: KubeObject): Cause[] {
  switch (resource) {
    case "pods":
      return podUpdateProblems(object, before);
    case "secrets":
    case "configmaps":
      return [...immutableDataProblems(object, before), ...dataProblems(object)];
    case "rolebindings":
    case "clusterrolebindings":
      return differs(object, before, "roleRef")
        ? [cause.invalid("roleRef", inGo(object["roleRef"]), "cannot change roleRef")]
        : bindingProblems(object);
    case "persistentvolumeclaims":
      return differs(object, before, "spec")
        ? [
            cause.forbidden(
              "spec",
              "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
            ),
          ]
        : [];
    case "deployments":
    case "daemonsets":
    case "replicasets": {
      const [now, then] = [object["spec"], before["spec"]];
      return isJson(now) && isJson(then) && differs(now, then, "selector")
        ? [
            cause.invalid("spec.selector", now["selector"], "field is immutable"),
            ...workloadProblems(object),
          ]
        : workloadProblems(object);
    }
    default:
      return createProblems(resource, object);
  }
}

function immutableDataProblems(object: KubeObject, before: KubeObject): Cause[] {
  const problems: Cause[] = [];
  if (before["immutable"] === true) {
    const why = "field is immutable when `immutable` is set";
    if (object["immutable"] !== true) problems.push(cause.forbidden("immutable", why));
    if (differs(object, before, "data")) problems.push(cause.forbidden("data", why));
    if (differs(object, before, "binaryData")) problems.push(cause.forbidden("binaryData", why));
  }
  if (differs(object, before, "type")) {
    problems.push(cause.invalid("type", object["type"], "field is immutable"));
  }
  return problems;
}

function differs(
  one: Record<string, unknown>,
  other: Record<string, unknown>,
  field: string,
): boolean {
  return sorted(one[field]) !== sorted(other[field]);
}

function sorted(value: unknown): string {
  return JSON.stringify(value ?? null, (_key, inner: unknown) =>
    isJson(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/** As the server's own types are printed: `{"APIGroup":…,"Kind":…,"Name":…}`. */
function inGo(roleRef: unknown): object {
  const { apiGroup, kind, name } = isJson(roleRef) ? roleRef : {};
  return { APIGroup: apiGroup, Kind: kind, Name: name };
}
