import { randomBytes } from "node:crypto";

import { fillLimits, limitProblem } from "./limit-range.ts";
import type { KubeObject, Objects, Pod } from "./objects.ts";
import { podSecurityProblem } from "./pod-security.ts";
import { quotaProblem } from "./quota.ts";
import { resourceTypes, type Resource } from "./resources.ts";
import { forbidden, notFound } from "./status.ts";

/** The part of admission that may change a new object, which is changed in place. */
export function admitCreate(objects: Objects, resource: Resource, object: KubeObject): void {
  const { name, namespace = "" } = object.metadata;
  if (resourceTypes[resource].isNamespaced) {
    const owner = objects.get("namespaces", namespace);
    if (owner === undefined) throw notFound("namespaces", namespace);
    if (owner.metadata.deletionTimestamp !== undefined) {
      throw forbidden(
        resource,
        name,
        `unable to create new content in namespace ${namespace} because it is being terminated`,
        [
          {
            reason: "NamespaceTerminating",
            message: `namespace ${namespace} is being terminated`,
            field: "metadata.namespace",
          },
        ],
      );
    }
  }
  if (resource === "pods") admitPod(objects, object);
}

function admitPod(objects: Objects, pod: Pod): void {
  const { spec } = pod;
  const { name, namespace = "" } = pod.metadata;
  if (spec === undefined) return;
  fillLimits(objects, pod);
  const account = (spec.serviceAccountName ??= "default");
  spec.serviceAccount = account;
  const found = objects.get("serviceaccounts", account, namespace);
  if (found === undefined) {
    throw forbidden(
      "pods",
      name,
      `error looking up service account ${namespace}/${account}: serviceaccount "${account}" not found`,
    );
  }
  if ((spec.imagePullSecrets ?? []).length === 0 && (found.imagePullSecrets ?? []).length > 0) {
    spec.imagePullSecrets = structuredClone(found.imagePullSecrets ?? []);
  }
  if (spec.automountServiceAccountToken ?? found.automountServiceAccountToken ?? true)
    mountToken(pod);
  fillTolerations(pod);
  const { priorityClassName } = spec;
  const priorityClass =
    priorityClassName === undefined || priorityClassName.startsWith("system-")
      ? undefined
      : objects.get("priorityclasses", priorityClassName);
  if (
    priorityClassName !== undefined &&
    !priorityClassName.startsWith("system-") &&
    priorityClass === undefined
  ) {
    throw forbidden("pods", name, `no PriorityClass with name ${priorityClassName} was found`);
  }
  spec.priority ??= typeof priorityClass?.["value"] === "number" ? priorityClass["value"] : 0;
  spec.preemptionPolicy ??= "PreemptLowerPriority";
  spec.enableServiceLinks ??= true;
}

function mountToken({ spec }: Pod): void {
  if (spec === undefined) return;
  const mountPath = "/var/run/secrets/kubernetes.io/serviceaccount";
  const name = `kube-api-access-${randomBytes(4).toString("hex").slice(0, 5)}`;
  let isUsed = false;
  for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
    if (container.volumeMounts?.some((mount) => mount.mountPath === mountPath) === true) continue;
    container.volumeMounts = [
      ...(container.volumeMounts ?? []),
      { name, readOnly: true, mountPath },
    ];
    isUsed = true;
  }
  if (!isUsed) return;
  const sources = [
    { serviceAccountToken: { expirationSeconds: 3607, path: "token" } },
    { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
    {
      downwardAPI: {
        items: [
          { path: "namespace", fieldRef: { apiVersion: "v1", fieldPath: "metadata.namespace" } },
        ],
      },
    },
  ];
  spec.volumes = [...(spec.volumes ?? []), { name, projected: { sources, defaultMode: 420 } }];
}

/** A pod leaves a node that is not heard of after five minutes, unless it says otherwise. */
function fillTolerations({ spec }: Pod): void {
  if (spec === undefined) return;
  for (const key of ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]) {
    const has = (spec.tolerations ?? []).some(
      (one) =>
        (one.key === key || (one.key ?? "") === "") &&
        (one.effect === "NoExecute" || (one.effect ?? "") === ""),
    );
    if (has) continue;
    const toleration = { key, operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 };
    spec.tolerations = [...(spec.tolerations ?? []), toleration];
  }
}

/** The part of admission that only refuses; quotas come last. Warnings go to the client. */
export function checkCreate(
  objects: Objects,
  resource: Resource,
  object: KubeObject,
): readonly string[] {
  const { name } = object.metadata;
  const warnings: string[] = [];
  if (resource === "pods") {
    const pod = object as Pod;
    const limit = limitProblem(objects, pod);
    if (limit !== undefined) throw forbidden("pods", name, limit);
    const namespace = objects.get("namespaces", pod.metadata.namespace ?? "");
    if (namespace !== undefined) {
      const problem = podSecurityProblem(pod, namespace, "enforce");
      if (problem !== undefined) throw forbidden("pods", name, problem);
      const warning = podSecurityProblem(pod, namespace, "warn");
      if (warning !== undefined) warnings.push(warning);
    }
  }
  const quota = quotaProblem(objects, resource, object);
  if (quota !== undefined) throw forbidden(resource, name, quota);
  return warnings;
}
