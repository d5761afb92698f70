import type {
  KubernetesObject,
  V1ClusterRole,
  V1ClusterRoleBinding,
  V1PolicyRule,
  V1RoleBinding,
  V1ServiceAccount,
} from "@kubernetes/client-node";
import type { KubernetesConfig } from "./config.ts";
import { systemLabels } from "./manifests-names.ts";
import { type Permission, permissionsOf, rulesOf } from "./permissions.ts";
import type { Plain } from "./pod-security.ts";

/*
 * What the control plane may do. Two cluster roles: one for what belongs to no namespace, one for a namespace of workers. The second is bound in the worker
 * namespace alone, or everywhere where tenants have namespaces of their own, since those do not exist yet.
 *
 * Kubernetes lets nobody hand out rights that he lacks, so the second holds all that the Role in a namespace of workers gives.
 */

const rbacGroup = "rbac.authorization.k8s.io";
const clusterName = "hodei-control-plane";
const workersName = "hodei-worker-namespaces";

/** The server's service account and what it may do. */
export function accessObjects(config: KubernetesConfig): readonly KubernetesObject[] {
  return [
    serviceAccount(config),
    clusterRole(clusterName, rulesIn(config, "cluster")),
    clusterBinding(clusterName, config),
    clusterRole(workersName, rulesIn(config, "workers")),
    config.dynamicNamespaces
      ? clusterBinding(workersName, config)
      : workersBinding(workersName, config),
  ];
}

function serviceAccount({ controlPlane }: KubernetesConfig): Plain<V1ServiceAccount> {
  return {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: {
      name: controlPlane.serviceAccount,
      namespace: controlPlane.namespace,
      labels: systemLabels,
    },
    // The server's pod asks for its token itself.
    automountServiceAccountToken: false,
  };
}

/** Of what belongs to no namespace, or of what is in one. */
function rulesIn(config: KubernetesConfig, scope: Permission["scope"]): V1PolicyRule[] {
  const used = permissionsOf(config).filter((permission) => permission.scope === scope);
  return rulesOf(used).map(({ apiGroups, resources, verbs }) => ({
    apiGroups: [...apiGroups],
    resources: [...resources],
    verbs: [...verbs],
  }));
}

function clusterRole(name: string, rules: V1PolicyRule[]): Plain<V1ClusterRole> {
  return {
    apiVersion: `${rbacGroup}/v1`,
    kind: "ClusterRole",
    metadata: { name, labels: systemLabels },
    rules,
  };
}

function clusterBinding(name: string, config: KubernetesConfig): Plain<V1ClusterRoleBinding> {
  return {
    apiVersion: `${rbacGroup}/v1`,
    kind: "ClusterRoleBinding",
    metadata: { name, labels: systemLabels },
    roleRef: { apiGroup: rbacGroup, kind: "ClusterRole", name },
    subjects: subjectsOf(config),
  };
}

function workersBinding(name: string, config: KubernetesConfig): Plain<V1RoleBinding> {
  return {
    apiVersion: `${rbacGroup}/v1`,
    kind: "RoleBinding",
    metadata: { name, namespace: config.namespace, labels: systemLabels },
    roleRef: { apiGroup: rbacGroup, kind: "ClusterRole", name },
    subjects: subjectsOf(config),
  };
}

function subjectsOf({ controlPlane }: KubernetesConfig) {
  return [
    {
      kind: "ServiceAccount",
      name: controlPlane.serviceAccount,
      namespace: controlPlane.namespace,
    },
  ];
}
