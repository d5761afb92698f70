import type {
  KubernetesObject,
  V1ClusterRole,
  V1ClusterRoleBinding,
  V1ServiceAccount,
} from "@kubernetes/client-node";
import type { KubernetesConfig } from "./config.ts";
import { controlSubject, workersBinding } from "./infrastructure-parts.ts";
import { guardObjects } from "./manifests-guard.ts";
import { systemLabels } from "./manifests-names.ts";
import { clusterRules, namespaceRules, type PolicyRule, workersRole } from "./permissions.ts";
import type { Plain } from "./pod-security.ts";

/*
 * What the control plane may do. Two cluster roles: one for what belongs to no namespace, bound in the cluster, and one for a namespace of workers, bound
 * in those namespaces alone. Where tenants have namespaces, which do not exist yet, the server may bind the second itself; a policy holds it to the
 * namespaces that are to be workers'.
 *
 * Kubernetes lets nobody hand out rights that he lacks, so the second holds all that the Role in a namespace of workers gives.
 */

const rbacGroup = "rbac.authorization.k8s.io";
const clusterName = "hodei-control-plane";

/** The server's service account and what it may do. */
export function accessObjects(config: KubernetesConfig): readonly KubernetesObject[] {
  return [
    serviceAccount(config),
    clusterRole(clusterName, clusterRules(config)),
    clusterBinding(clusterName, config),
    clusterRole(workersRole, namespaceRules(config)),
    workersBinding(config, { namespace: config.namespace, labels: systemLabels }),
    ...(config.dynamicNamespaces && config.createInfrastructure ? guardObjects(config) : []),
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

function clusterRole(name: string, rules: readonly PolicyRule[]): Plain<V1ClusterRole> {
  return {
    apiVersion: `${rbacGroup}/v1`,
    kind: "ClusterRole",
    metadata: { name, labels: systemLabels },
    rules: rules.map(({ apiGroups, resources, resourceNames, verbs }) => ({
      apiGroups: [...apiGroups],
      resources: [...resources],
      ...(resourceNames !== undefined && { resourceNames: [...resourceNames] }),
      verbs: [...verbs],
    })),
  };
}

function clusterBinding(name: string, config: KubernetesConfig): Plain<V1ClusterRoleBinding> {
  return {
    apiVersion: `${rbacGroup}/v1`,
    kind: "ClusterRoleBinding",
    metadata: { name, labels: systemLabels },
    roleRef: { apiGroup: rbacGroup, kind: "ClusterRole", name },
    subjects: [controlSubject(config)],
  };
}
