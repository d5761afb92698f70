import { timestamp, type KubeObject, type Namespace, type Objects } from "./objects.ts";
import { resourceTypes, type Resource } from "./resources.ts";

const rootCa = "-----BEGIN CERTIFICATE-----\ndouble\n-----END CERTIFICATE-----\n";

const contents = Object.values(resourceTypes)
  .filter(({ isNamespaced }) => isNamespaced)
  .map(({ plural }) => plural);

/** Gives every namespace its default service account and the cluster's certificate, and empties one that is to go. */
export function startNamespaces(
  objects: Objects,
  options: { readonly rootCa?: string } = {},
): Disposable {
  const fill = ({ metadata: { name } }: KubeObject): void => {
    if (objects.get("serviceaccounts", "default", name) === undefined) {
      objects.create("serviceaccounts", { metadata: { name: "default", namespace: name } });
    }
    if (objects.get("configmaps", "kube-root-ca.crt", name) === undefined) {
      const metadata = { name: "kube-root-ca.crt", namespace: name };
      objects.create("configmaps", { metadata, data: { "ca.crt": options.rootCa ?? rootCa } });
    }
  };
  const subscription = objects.subscribe(({ resource, type, object }) => {
    if (resource === "namespaces") {
      const now = objects.get("namespaces", object.metadata.name);
      const isSame = now?.metadata.uid === object.metadata.uid;
      if (type === "DELETED" && now === undefined) empty(objects, object.metadata.name);
      else if (isSame && now.metadata.deletionTimestamp !== undefined) advance(objects, now);
      else if (isSame && type === "ADDED") fill(now);
      return;
    }
    const { namespace } = object.metadata;
    if (namespace === undefined) return;
    const owner = objects.get("namespaces", namespace);
    if (
      type === "DELETED" &&
      owner !== undefined &&
      owner.metadata.deletionTimestamp === undefined
    ) {
      if (object.metadata.name === "default" || object.metadata.name === "kube-root-ca.crt")
        fill(owner);
    }
    if (type !== "MODIFIED" && owner?.metadata.deletionTimestamp !== undefined)
      advance(objects, owner);
  });
  for (const namespace of objects.list("namespaces")) fill(namespace);
  return subscription;
}

/** Deletes what is left; the last one gone, the namespace goes too. */
function advance(objects: Objects, namespace: Namespace): void {
  const { name } = namespace.metadata;
  empty(objects, name);
  const left = contents
    .map((resource) => ({ resource, count: objects.list(resource, name).length }))
    .filter(({ count }) => count > 0);
  objects.mutate("namespaces", { name }, (one) => {
    one.status = { phase: "Terminating", conditions: conditionsOf(one, left) };
    if (left.length === 0) one.spec = { ...one.spec, finalizers: [] };
  });
}

function empty(objects: Objects, namespace: string): void {
  for (const resource of contents) {
    for (const { metadata } of objects.list(resource, namespace)) {
      if (metadata.deletionTimestamp === undefined)
        objects.delete(resource, { name: metadata.name, namespace });
    }
  }
}

function conditionsOf(
  namespace: Namespace,
  left: readonly { readonly resource: Resource; readonly count: number }[],
) {
  const what = left.map(({ resource, count }) => `${resource}. has ${count} resource instances`);
  const condition = (type: string, status: string, reason: string, message: string) => {
    const before = namespace.status?.conditions?.find((one) => one.type === type);
    const kept = before?.status === status ? before.lastTransitionTime : undefined;
    const lastTransitionTime = kept ?? timestamp();
    return { type, status, lastTransitionTime, reason, message };
  };
  return [
    condition(
      "NamespaceDeletionDiscoveryFailure",
      "False",
      "ResourcesDiscovered",
      "All resources successfully discovered",
    ),
    condition(
      "NamespaceDeletionContentFailure",
      "False",
      "ContentDeleted",
      "All content successfully deleted, may be waiting on finalization",
    ),
    left.length === 0
      ? condition(
          "NamespaceContentRemaining",
          "False",
          "ContentRemoved",
          "All content successfully removed",
        )
      : condition(
          "NamespaceContentRemaining",
          "True",
          "SomeResourcesRemain",
          `Some resources are remaining: ${what.join(", ")}`,
        ),
  ];
}
