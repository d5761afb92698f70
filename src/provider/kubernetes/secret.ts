import type { V1Secret } from "@kubernetes/client-node";
import type { WorkerSpec } from "#provider/provider.ts";
import type { KubernetesConfig } from "./config.ts";
import type { KubernetesObject } from "./infrastructure-parts.ts";
import { caNameOf, managedLabels, secretNameOf } from "./names.ts";
import { appOf, type PodPlace } from "./pod.ts";
import { files } from "./pod-volumes.ts";

type Place = Pick<PodPlace, "namespace" | "instanceId" | "provider">;

/** What a worker is handed as files: its one-time token, and the authority that vouches for the server. It is never changed, only removed. */
export function buildSecret(config: KubernetesConfig, spec: WorkerSpec, place: Place): V1Secret {
  const owner = { ...place, app: appOf(config) };
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: {
      name: secretNameOf(spec.workerId),
      namespace: place.namespace,
      labels: managedLabels(owner, { id: spec.workerId, tenant: spec.tenant }),
    },
    type: "Opaque",
    immutable: true,
    data: {
      [files.otp]: base64(spec.otp),
      ...(spec.serverCa === undefined ? {} : { [files.ca]: base64(spec.serverCa) }),
    },
  };
}

/** The ConfigMap with the authority, for the workers of a namespace that are attested and so have no Secret. */
export function caObject(config: KubernetesConfig, ca: string, place: Place): KubernetesObject {
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: {
      name: caNameOf(place.instanceId),
      namespace: place.namespace,
      labels: managedLabels({ ...place, app: appOf(config) }),
    },
    data: { [files.ca]: ca },
  };
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
