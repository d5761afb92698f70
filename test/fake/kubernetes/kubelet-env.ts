import type { Image } from "./kubelet-images.ts";
import { contentOf } from "./kubelet-volumes.ts";
import type { Objects, Pod } from "./objects.ts";
import { specOf, userOf, whereOf, type Container } from "./kubelet-types.ts";

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The container's environment; throws what CreateContainerConfigError says. */
export function environmentOf(
  pod: Pod,
  container: Container,
  { objects, image }: { readonly objects: Objects; readonly image: Image },
): Record<string, string> {
  const { name, namespace } = whereOf(pod);
  const env: Record<string, string> = {
    PATH: defaultPath,
    HOSTNAME: name,
    HOME: userOf(pod, container).uid === undefined && image.user === undefined ? "/root" : "/",
    KUBERNETES_SERVICE_HOST: "10.96.0.1",
    KUBERNETES_SERVICE_PORT: "443",
    ...image.env,
  };
  for (const { configMapRef, secretRef, prefix = "" } of container.envFrom ?? []) {
    const ref = secretRef ?? configMapRef;
    const found = contentOf(objects, secretRef === undefined ? "configmaps" : "secrets", {
      namespace,
      name: ref?.name ?? "",
    });
    if (found === undefined && ref?.optional !== true) {
      throw new Error(
        `${secretRef === undefined ? "configmap" : "secret"} "${ref?.name}" not found`,
      );
    }
    for (const [key, value] of found ?? []) env[`${prefix}${key}`] = value.toString();
  }
  for (const variable of container.env ?? []) {
    const value = valueOf(pod, { container, variable }, objects);
    if (value !== undefined) env[variable.name] = expand(value, env);
  }
  return env;
}

/** `$(NAME)` is replaced where the name is known, `$$` is a dollar. */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$(?:\$|\(([\w.-]+)\))/g, (whole, name: string | undefined) =>
    name === undefined ? "$" : (env[name] ?? whole),
  );
}

/**
 * Replaces the paths of mounts by where they really are. Nothing is mounted at the container's
 * path, so whatever is told by argument or variable is rewritten; a path inside of a file is not.
 */
export function translate(text: string, mounts: ReadonlyMap<string, string>): string {
  if (mounts.size === 0) return text;
  const paths = [...mounts.keys()].toSorted((one, other) => other.length - one.length);
  const any = paths.map((path) => path.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")).join("|");
  const pattern = new RegExp(`(?<![\\w./-])(?:${any})(?=$|[/\\s"':;,)])`, "g");
  return text.replace(pattern, (path) => mounts.get(path) ?? path);
}

type Variable = NonNullable<Container["env"]>[number];

function valueOf(
  pod: Pod,
  { container, variable }: { readonly container: Container; readonly variable: Variable },
  objects: Objects,
): string | undefined {
  const { secretKeyRef, configMapKeyRef, fieldRef, resourceFieldRef } = variable.valueFrom ?? {};
  if (fieldRef !== undefined) return fieldOf(pod, fieldRef.fieldPath);
  if (resourceFieldRef !== undefined) {
    const [kind, name = ""] = resourceFieldRef.resource.split(".");
    return container.resources?.[kind === "limits" ? "limits" : "requests"]?.[name] ?? "0";
  }
  const ref = secretKeyRef ?? configMapKeyRef;
  if (ref === undefined) return variable.value ?? "";
  const { namespace } = whereOf(pod);
  const resource = secretKeyRef === undefined ? "configmaps" : "secrets";
  const found = contentOf(objects, resource, { name: ref.name ?? "", namespace });
  const value = found?.get(ref.key);
  if (value !== undefined) return value.toString();
  if (ref.optional === true) return undefined;
  const [kind, title] = resource === "secrets" ? ["secret", "Secret"] : ["configmap", "ConfigMap"];
  if (found === undefined) throw new Error(`${kind} "${ref.name}" not found`);
  throw new Error(`couldn't find key ${ref.key} in ${title} ${namespace}/${ref.name}`);
}

/** What the downward API knows. */
export function fieldOf(pod: Pod, path: string): string {
  const { metadata, status } = pod;
  const keyed = /^metadata\.(labels|annotations)(?:\['(.+)'\])?$/.exec(path);
  if (keyed !== null) {
    const all = (keyed[1] === "labels" ? metadata.labels : metadata.annotations) ?? {};
    if (keyed[2] !== undefined) return all[keyed[2]] ?? "";
    return Object.entries(all)
      .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
      .join("\n");
  }
  const fields: Record<string, string | undefined> = {
    "metadata.name": metadata.name,
    "metadata.namespace": metadata.namespace,
    "metadata.uid": metadata.uid,
    "spec.nodeName": specOf(pod).nodeName,
    "spec.serviceAccountName": specOf(pod).serviceAccountName,
    "status.podIP": status?.podIP,
    "status.podIPs": status?.podIP,
    "status.hostIP": status?.hostIP,
  };
  return fields[path] ?? "";
}
