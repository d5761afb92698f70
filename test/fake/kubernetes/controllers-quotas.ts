import { isFinal, specOf } from "./kubelet-types.ts";
import type { Objects, Pod } from "./objects.ts";
import { quantityOf, quantityText } from "./quantity.ts";
import { isResource } from "./resources.ts";

/** Keeps the `used` of every quota what it is. */
export function startQuotas(objects: Objects): Disposable {
  const count = (namespace: string): void => {
    for (const quota of objects.list("resourcequotas", namespace)) {
      const hard: Readonly<Record<string, string>> = quota.spec?.hard ?? {};
      const used = Object.fromEntries(
        Object.entries(hard).map(([key, text]) => [key, usedOf(objects, namespace, { key, text })]),
      );
      const { name } = quota.metadata;
      objects.mutate("resourcequotas", { name, namespace }, (one) => {
        one.status = { hard: { ...hard }, used };
      });
    }
  };
  const subscription = objects.subscribe(({ object }) => {
    if (object.metadata.namespace !== undefined) count(object.metadata.namespace);
  });
  for (const { metadata } of objects.list("namespaces")) count(metadata.name);
  return subscription;
}

export function usedOf(
  objects: Objects,
  namespace: string,
  { key, text }: { readonly key: string; readonly text: string },
): string {
  const counted = /^count\/(\w+)/.exec(key)?.[1] ?? key;
  const pods = objects.list("pods", namespace);
  // What has ended uses nothing any more; `count/pods` counts all that there are.
  const living = pods.filter((pod) => !isFinal(pod));
  if (key === "pods") return String(living.length);
  if (isResource(counted)) return String(objects.list(counted, namespace).length);
  const [, kind = "requests", name = key] = /^(requests|limits)\.(.+)$/.exec(key) ?? [];
  const total = living.reduce((sum, pod) => sum + amountOf(pod, kind, name), 0);
  return quantityText(total, name === "memory" ? "memory" : text);
}

export function amountOf(pod: Pod, kind: string, name: string): number {
  const of = (containers: ReturnType<typeof specOf>["containers"]): number[] =>
    containers.map(({ resources }) => {
      const amounts = kind === "limits" ? resources?.limits : resources?.requests;
      return quantityOf(amounts?.[name] ?? "0");
    });
  const init = specOf(pod).initContainers ?? [];
  const lasting = of([
    ...specOf(pod).containers,
    ...init.filter((one) => one.restartPolicy === "Always"),
  ]);
  const passing = of(init.filter((one) => one.restartPolicy !== "Always"));
  return Math.max(
    lasting.reduce((sum, one) => sum + one, 0),
    ...passing,
  );
}
