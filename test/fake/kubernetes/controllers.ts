import { startNamespaces } from "./controllers-namespaces.ts";
import { startOwners } from "./controllers-owners.ts";
import { startQuotas } from "./controllers-quotas.ts";
import type { Objects } from "./objects.ts";

/** What the controller manager does that anybody can see here, but for nodes. */
export function startControllers(
  objects: Objects,
  options: { readonly rootCa?: string } = {},
): Disposable {
  const parts = new DisposableStack();
  parts.use(startNamespaces(objects, options));
  parts.use(startOwners(objects));
  parts.use(startQuotas(objects));
  return parts;
}
