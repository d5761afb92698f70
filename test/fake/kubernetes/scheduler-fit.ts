import {
  initContainersOf,
  isSidecar,
  specOf,
  type Container,
  type PodSpec,
  type Taint,
  type Toleration,
} from "./kubelet-types.ts";
import type { Node, Pod } from "./objects.ts";
import { quantityOf } from "./quantity.ts";

export type Amounts = Map<string, number>;

/** What a pod takes of a node: all containers and sidecars together, or the largest init container. */
export function requestsOf(pod: Pod): Amounts {
  const init = initContainersOf(pod);
  const lasting = [...init.filter(isSidecar), ...specOf(pod).containers];
  const total = sum(lasting.map(amountsOf));
  for (const [name, amount] of Object.entries(specOf(pod).overhead ?? {})) {
    total.set(name, (total.get(name) ?? 0) + quantityOf(amount));
  }
  for (const container of init.filter((one) => !isSidecar(one))) {
    for (const [name, amount] of amountsOf(container)) {
      total.set(name, Math.max(total.get(name) ?? 0, amount));
    }
  }
  return total.set("pods", 1);
}

/** Why a pod cannot go to a node, in the scheduler's words; the kinds that a preemption could end are marked. */
export function misfitsOf(
  pod: Pod,
  node: Node,
  taken: Amounts,
): { readonly reason: string; readonly isHelpedByPreemption: boolean }[] {
  const never = (reason: string) => [{ reason, isHelpedByPreemption: false }];
  if (node.spec?.unschedulable === true && !toleratesUnschedulable(pod)) {
    return never("node(s) were unschedulable");
  }
  const taint = (node.spec?.taints ?? []).find(
    (one) => one.effect !== "PreferNoSchedule" && !isTolerated(one, specOf(pod).tolerations),
  );
  if (taint !== undefined) return never("node(s) had untolerated taint(s)");
  if (!matchesNode(specOf(pod), node)) {
    return never("node(s) didn't match Pod's node affinity/selector");
  }
  const allocatable = node.status?.allocatable ?? {};
  return [...requestsOf(pod)].flatMap(([name, wanted]) => {
    const all = quantityOf(allocatable[name] ?? "0");
    if (wanted === 0 || (taken.get(name) ?? 0) + wanted <= all) return [];
    const reason = name === "pods" ? "Too many pods" : `Insufficient ${name}`;
    return [{ reason, isHelpedByPreemption: wanted <= all }];
  });
}

export function isTolerated(taint: Taint, tolerations: readonly Toleration[] = []): boolean {
  return tolerations.some((one) => tolerates(one, taint));
}

export function tolerates(toleration: Toleration, taint: Taint): boolean {
  const { key, operator = "Equal", value = "", effect } = toleration;
  if (effect !== undefined && effect !== "" && effect !== taint.effect) return false;
  if (key === undefined || key === "") return operator === "Exists";
  if (key !== taint.key) return false;
  return operator === "Exists" || value === (taint.value ?? "");
}

export function sum(all: readonly Amounts[]): Amounts {
  const total: Amounts = new Map();
  for (const amounts of all) {
    for (const [name, amount] of amounts) total.set(name, (total.get(name) ?? 0) + amount);
  }
  return total;
}

function amountsOf({ resources }: Container): Amounts {
  const requests = { ...resources?.limits, ...resources?.requests };
  return new Map(Object.entries(requests).map(([name, text]) => [name, quantityOf(text)]));
}

function toleratesUnschedulable(pod: Pod): boolean {
  const taint = { key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" };
  return isTolerated(taint, specOf(pod).tolerations);
}

function matchesNode({ nodeSelector = {}, affinity }: PodSpec, node: Node): boolean {
  const labels: Readonly<Record<string, string>> = node.metadata.labels ?? {};
  if (Object.entries(nodeSelector).some(([key, value]) => labels[key] !== value)) return false;
  const required = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  if (required === undefined) return true;
  return required.nodeSelectorTerms.some(
    ({ matchExpressions = [], matchFields = [] }) =>
      matchExpressions.every((one) => matches(one, labels[one.key])) &&
      matchFields.every((one) => matches(one, node.metadata.name)),
  );
}

function matches(
  { operator, values = [] }: { readonly operator: string; readonly values?: readonly string[] },
  value: string | undefined,
): boolean {
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    case "Gt":
      return value !== undefined && Number(value) > Number(values[0]);
    case "Lt":
      return value !== undefined && Number(value) < Number(values[0]);
    default:
      return false;
  }
}
