import type { Logger } from "#telemetry.ts";
import type { KubernetesConfig } from "./config.ts";
import type { Connection } from "./connection.ts";
import { namespaceOf } from "./names.ts";
import type { PodApi } from "./pod-api.ts";
import type { Places } from "./pod-places.ts";
import type { PodPlace } from "./pod.ts";
import type { PodWatcher } from "./watch.ts";
import type { WorkerNamespaces } from "./worker-namespaces.ts";

/** What the parts of the provider share. */
export interface PodGround {
  readonly config: KubernetesConfig;
  /** The provider's name in the server. */
  readonly name: string;
  readonly instanceId: string;
  readonly env: Readonly<Record<string, string>>;
  readonly log: Logger;
  readonly connection: Connection;
  readonly api: PodApi;
  readonly namespaces: WorkerNamespaces;
  readonly watcher: PodWatcher;
  readonly places: Places;
}

/** Where the pod of a worker of that tenant is made. */
export function placeOf(ground: PodGround, tenant: string | undefined): PodPlace {
  const { config, name, instanceId, env } = ground;
  return { namespace: namespaceOf(config, tenant), provider: name, instanceId, env };
}
