import type { KubeObject, Objects } from "./objects.ts";
import { resourceTypes, type Resource } from "./resources.ts";

const ownable = (Object.keys(resourceTypes) as Resource[]).filter((one) => one !== "events");
const foreground = "foregroundDeletion";

/** Deletes what is owned only by objects that are gone, and before its owner what an owner waits for. */
export function startOwners(objects: Objects): Disposable {
  return objects.subscribe(({ resource, type, object }) => {
    const isWaiting = object.metadata.finalizers?.includes(foreground) === true;
    if (type === "MODIFIED" && isWaiting && object.metadata.deletionTimestamp !== undefined) {
      releaseOwner(objects, resource, object);
    }
    if (type !== "DELETED") return;
    for (const [kind, one] of dependentsOf(objects, object)) {
      if (hasOtherOwner(objects, one, object)) continue;
      objects.delete(kind, nameOf(one));
    }
    for (const { uid, kind, name } of object.metadata.ownerReferences ?? []) {
      const plural = ownable.find((each) => resourceTypes[each].kind === kind);
      const owner = plural && objects.get(plural, name, object.metadata.namespace);
      if (plural === undefined || owner?.metadata.uid !== uid) continue;
      if (owner.metadata.finalizers?.includes(foreground) === true) {
        releaseOwner(objects, plural, owner);
      }
    }
  });
}

/** Its dependents go first; with the last of them the owner may go. */
function releaseOwner(objects: Objects, resource: Resource, owner: KubeObject): void {
  for (const [kind, one] of dependentsOf(objects, owner)) {
    if (one.metadata.deletionTimestamp === undefined) objects.delete(kind, nameOf(one));
  }
  if (dependentsOf(objects, owner).length > 0) return;
  objects.mutate(resource, nameOf(owner), ({ metadata }) => {
    metadata.finalizers = (metadata.finalizers ?? []).filter((one) => one !== foreground);
  });
}

function dependentsOf(objects: Objects, owner: KubeObject): [Resource, KubeObject][] {
  return ownable.flatMap((resource) =>
    objects
      .list(resource, owner.metadata.namespace)
      .filter(({ metadata }) =>
        metadata.ownerReferences?.some(({ uid }) => uid === owner.metadata.uid),
      )
      .map((one): [Resource, KubeObject] => [resource, one]),
  );
}

function hasOtherOwner(objects: Objects, one: KubeObject, gone: KubeObject): boolean {
  return (one.metadata.ownerReferences ?? []).some(({ kind, name, uid }) => {
    if (uid === gone.metadata.uid) return false;
    const plural = ownable.find((each) => resourceTypes[each].kind === kind);
    if (plural === undefined) return false;
    const namespace = resourceTypes[plural].isNamespaced ? one.metadata.namespace : "";
    return objects.get(plural, name, namespace)?.metadata.uid === uid;
  });
}

function nameOf({ metadata }: KubeObject): { name: string; namespace: string | undefined } {
  return { name: metadata.name, namespace: metadata.namespace };
}
