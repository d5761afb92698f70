import { amountOf as amountOfPod, usedOf } from "./controllers-quotas.ts";
import type { KubeObject, Objects, Pod } from "./objects.ts";
import { quantityOf, quantityText } from "./quantity.ts";
import { resourceTypes, type Resource } from "./resources.ts";

type Amounts = Record<string, string>;

/** Which quota a new object would break, as text; undefined if it fits. */
export function quotaProblem(
  objects: Objects,
  resource: Resource,
  object: KubeObject,
): string | undefined {
  const { namespace } = object.metadata;
  if (namespace === undefined) return undefined;
  for (const quota of objects.list("resourcequotas", namespace)) {
    const hard: Readonly<Amounts> = quota.spec?.hard ?? {};
    const name = quota.metadata.name;
    if (resource === "pods") {
      const missing = unspecified(object, Object.keys(hard));
      if (missing.length > 0) return `failed quota: ${name}: must specify ${missing.join("; ")}`;
    }
    const [requested, used, limited]: [Amounts, Amounts, Amounts] = [{}, {}, {}];
    for (const key of Object.keys(hard).toSorted()) {
      const limit = hard[key] ?? "0";
      const more = amountOf({ resource, object, key });
      if (more === 0) continue;
      const now = usedOf(objects, namespace, { key, text: limit });
      if (quantityOf(now) + more <= quantityOf(limit) + 1e-9) continue;
      requested[key] = quantityText(more, /memory|storage/.test(key) ? "Mi" : limit);
      used[key] = now;
      limited[key] = limit;
    }
    if (Object.keys(requested).length === 0) continue;
    return `exceeded quota: ${name}, requested: ${text(requested)}, used: ${text(used)}, limited: ${text(limited)}`;
  }
  return undefined;
}

function text(amounts: Amounts): string {
  return Object.entries(amounts)
    .map(([key, amount]) => `${key}=${amount}`)
    .join(",");
}

/** What the new object alone counts. */
function amountOf(one: { resource: Resource; object: KubeObject; key: string }): number {
  const { resource, object, key } = one;
  const { group } = resourceTypes[resource];
  if (key === `count/${resource}${group === "" ? "" : `.${group}`}`) return 1;
  if (key === resource) return 1;
  if (resource !== "pods" || key.startsWith("count/") || key in resourceTypes) return 0;
  if (key === "pods") return 1;
  const [, kind = "requests", name = key] = /^(requests|limits)\.(.+)$/.exec(key) ?? [];
  return amountOfPod(object, kind, name);
}

const compute = ["cpu", "memory", "ephemeral-storage"];

/** A quota of cpu or memory wants every container to say how much it uses. */
function unspecified(pod: Pod, keys: readonly string[]): string[] {
  const containers = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
  return keys.toSorted().flatMap((key) => {
    const [, kind = "requests", name = key] = /^(requests|limits)\.(.+)$/.exec(key) ?? [];
    if (!compute.includes(name)) return [];
    const without = containers.filter(({ resources }) => {
      const amounts = kind === "limits" ? resources?.limits : resources?.requests;
      return amounts?.[name] === undefined;
    });
    if (without.length === 0) return [];
    return [
      `${key} for: ${without
        .map((one) => one.name)
        .toSorted()
        .join(",")}`,
    ];
  });
}
