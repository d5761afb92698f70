import type { Container } from "./kubelet-types.ts";
import type { Objects, Pod } from "./objects.ts";
import { quantityOf, quantityText } from "./quantity.ts";

type Amounts = Readonly<Record<string, string>>;

/** Gives containers the defaults of the namespace's LimitRanges. The pod is changed in place. */
export function fillLimits(objects: Objects, pod: Pod): void {
  const notes: string[] = [];
  for (const range of objects.list("limitranges", pod.metadata.namespace)) {
    for (const limit of range.spec?.limits ?? []) {
      if (limit.type !== "Container") continue;
      for (const container of pod.spec?.containers ?? []) {
        notes.push(...fill(container, limit, "container"));
      }
      for (const container of pod.spec?.initContainers ?? []) {
        notes.push(...fill(container, limit, "init container"));
      }
    }
  }
  if (notes.length === 0) return;
  pod.metadata.annotations = {
    ...pod.metadata.annotations,
    "kubernetes.io/limit-ranger": `LimitRanger plugin set: ${notes.join("; ")}`,
  };
}

function fill(
  container: Container,
  limit: { _default?: Amounts; default?: Amounts; defaultRequest?: Amounts },
  what: string,
): string[] {
  const resources = (container.resources ??= {});
  const limits = limit.default ?? {};
  const requests = limit.defaultRequest ?? {};
  // Limits that the user gave became requests before this.
  const asked = { ...resources.requests };
  const set = (given: Amounts | undefined, defaults: Amounts): string[] =>
    Object.keys(defaults)
      .filter((name) => given?.[name] === undefined)
      .toSorted();
  const setRequests = set(asked, requests);
  const setLimits = set(resources.limits, limits);
  if (setRequests.length > 0) resources.requests = { ...requests, ...asked };
  if (setLimits.length > 0) resources.limits = { ...limits, ...resources.limits };
  return [
    ...(setRequests.length > 0
      ? [`${setRequests.join(", ")} request for ${what} ${container.name}`]
      : []),
    ...(setLimits.length > 0
      ? [`${setLimits.join(", ")} limit for ${what} ${container.name}`]
      : []),
  ];
}

/** Which limits of the namespace the pod breaks, as text; undefined if none. */
export function limitProblem(objects: Objects, pod: Pod): string | undefined {
  const problems: string[] = [];
  const containers = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  for (const range of objects.list("limitranges", pod.metadata.namespace)) {
    for (const limit of range.spec?.limits ?? []) {
      if (limit.type === "Container") {
        for (const { resources } of containers) {
          problems.push(
            ...check("Container", limit, {
              requests: resources?.requests ?? {},
              limits: resources?.limits ?? {},
            }),
          );
        }
      } else if (limit.type === "Pod") {
        problems.push(
          ...check("Pod", limit, { requests: sum(pod, "requests"), limits: sum(pod, "limits") }),
        );
      }
    }
  }
  const texts = [...new Set(problems)];
  if (texts.length === 0) return undefined;
  return texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`;
}

function sum(pod: Pod, kind: "requests" | "limits"): Amounts {
  const total: Record<string, number> = {};
  const first: Record<string, string> = {};
  for (const { resources } of pod.spec?.containers ?? []) {
    for (const [name, amount] of Object.entries(resources?.[kind] ?? {})) {
      total[name] = (total[name] ?? 0) + quantityOf(amount);
      first[name] ??= amount;
    }
  }
  return Object.fromEntries(
    Object.entries(total).map(([name, value]) => [name, quantityText(value, first[name])]),
  );
}

function check(
  type: string,
  limit: { max?: Amounts; min?: Amounts; maxLimitRequestRatio?: Amounts },
  given: { requests: Amounts; limits: Amounts },
): string[] {
  const problems: string[] = [];
  const of = (amount: string): number => quantityOf(amount);
  for (const [name, bound] of Object.entries(limit.min ?? {})) {
    const text = `minimum ${name} usage per ${type} is ${bound}`;
    const [request, top] = [given.requests[name], given.limits[name]];
    if (request === undefined) problems.push(`${text}.  No request is specified`);
    else if (of(request) < of(bound)) problems.push(`${text}, but request is ${request}`);
    else if (top !== undefined && of(top) < of(bound))
      problems.push(`${text}, but limit is ${top}`);
  }
  for (const [name, bound] of Object.entries(limit.max ?? {})) {
    const text = `maximum ${name} usage per ${type} is ${bound}`;
    const [request, top] = [given.requests[name], given.limits[name]];
    if (top === undefined) problems.push(`${text}.  No limit is specified`);
    else if (of(top) > of(bound)) problems.push(`${text}, but limit is ${top}`);
    else if (request !== undefined && of(request) > of(bound))
      problems.push(`${text}, but request is ${request}`);
  }
  for (const [name, bound] of Object.entries(limit.maxLimitRequestRatio ?? {})) {
    const ratio = of(given.limits[name] ?? "0") / of(given.requests[name] ?? "0");
    if (ratio > of(bound)) {
      problems.push(
        `${name} max limit to request ratio per ${type} is ${bound}, but provided ratio is ${ratio.toFixed(6)}`,
      );
    }
  }
  return problems;
}
