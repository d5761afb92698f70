import type { Logger } from "#telemetry.ts";
import type { KubernetesConfig } from "./config.ts";
import type { Connection } from "./connection.ts";
import {
  type Applied,
  applyObject,
  createdBy,
  fieldManager,
  InfrastructureError,
  ownerOfNamespace,
} from "./infrastructure-apply.ts";
import { OwnRights } from "./infrastructure-rights.ts";
import { networkPolicies } from "./infrastructure-network.ts";
import {
  commonLabels,
  infrastructureNames,
  type KubernetesObject,
  limitRange,
  namespaceObject,
  prePull,
  rightsObjects,
} from "./infrastructure-parts.ts";
import { isKubeError } from "./kube-error.ts";

/**
 * Everything that a namespace of workers needs before the first pod, the namespace first, in the order in which it has to be made.
 * `tenant` is given where the namespace is that tenant's own. Pure.
 */
export function infrastructureObjects(
  config: KubernetesConfig,
  namespace: string,
  tenant?: string,
): readonly KubernetesObject[] {
  const names = infrastructureNames(config);
  const inside = { namespace, labels: commonLabels(tenant) };
  return [
    namespaceObject(config, namespace, tenant),
    {
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: { name: config.serviceAccount, ...inside },
      automountServiceAccountToken: false,
      ...(config.imagePullSecrets.length > 0 && {
        imagePullSecrets: config.imagePullSecrets.map((name) => ({ name })),
      }),
    },
    ...rightsObjects(config, inside),
    ...(config.quota.isEnabled
      ? [
          {
            apiVersion: "v1",
            kind: "ResourceQuota",
            metadata: { name: names.quota, ...inside },
            spec: { hard: config.quota.hard },
          },
        ]
      : []),
    ...(config.limitRange.isEnabled ? [limitRange(config, inside)] : []),
    ...(config.networkPolicy.isEnabled ? networkPolicies(config, { names, ...inside }) : []),
    ...(config.prePullImage && namespace === config.namespace ? [prePull(config, inside)] : []),
  ];
}

export interface EnsureOptions {
  readonly log: Logger;
  readonly signal?: AbortSignal;
  /** What gives the caller its rights in the namespace; applied where they turn out to be missing. */
  readonly ownRights?: KubernetesObject;
}

/**
 * Makes the objects what they should be, in their order, as one field manager: what is right already is not written. A namespace that
 * somebody else made keeps the labels that they gave it. Where a right is missing and the object is there, it is taken as prepared by an
 * operator; where it is not there, the caller gives itself its rights, if it has some to give. Rejects with an `InfrastructureError`. Deletes nothing.
 */
export async function ensureInfrastructure(
  connection: Connection,
  objects: readonly KubernetesObject[],
  { log, signal, ownRights }: EnsureOptions,
): Promise<readonly Applied[]> {
  const applied: Applied[] = [];
  let denied: InfrastructureError | undefined;
  const call = { connection, signal };
  const rights = ownRights === undefined ? undefined : new OwnRights(ownRights, call);
  for (const object of objects) {
    const apply = (): Promise<Applied> =>
      object.kind === "Namespace"
        ? ensureNamespace(object, call)
        : applyObject(object, { ...call, force: true });
    try {
      applied.push(await (rights === undefined ? apply() : rights.with(apply)));
    } catch (error) {
      if (!(error instanceof InfrastructureError)) throw error;
      // Whoever may not even read namespaces finds out by what is in it whether it is there.
      if (object.kind === "Namespace" && error.kind === "forbidden") denied = error;
      else throw isKubeError(error.cause, 404) && denied !== undefined ? denied : error;
    }
  }
  report(applied, log);
  return applied;
}

function report(applied: readonly Applied[], log: Logger): void {
  const prepared = applied.filter(({ outcome }) => outcome === "prepared");
  if (prepared.length > 0) {
    const missing = prepared.map((one) => one.missing);
    log.warn({ missing }, "objects are there and may not be changed; taken as they are");
  }
  for (const { object, conflicts } of applied.filter(({ outcome }) => outcome === "foreign")) {
    log.warn(
      { namespace: object.metadata.name, conflicts },
      "namespace has other labels than configured; left as they are",
    );
  }
}

async function ensureNamespace(
  object: KubernetesObject,
  call: { readonly connection: Connection; readonly signal: AbortSignal | undefined },
): Promise<Applied> {
  const { metadata } = object;
  if ((await ownerOfNamespace(metadata.name, call)) !== "others") {
    // The mark says later that the namespace may be deleted; one that was there gets none.
    const annotations = { ...metadata.annotations, [createdBy]: fieldManager };
    const marked = { ...object, metadata: { ...metadata, annotations } };
    return applyObject(marked, { ...call, force: true });
  }
  const first = await applyObject(object, { ...call, force: false });
  if (first.outcome !== "foreign") return first;
  const isTheirs = (label: string): boolean =>
    first.conflicts.includes(`.metadata.labels.${label}`);
  const labels = Object.entries(metadata.labels ?? {}).filter(([label]) => !isTheirs(label));
  const rest = { ...object, metadata: { ...metadata, labels: Object.fromEntries(labels) } };
  await applyObject(rest, { ...call, force: false });
  return first;
}
