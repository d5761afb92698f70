import type { KubernetesConfig } from "./config.ts";

/** The cluster role with what the server does in a namespace of workers; bound namespace by namespace. */
export const workersRole = "hodei-worker-namespaces";

/** A right that the server uses. */
export interface Permission {
  /** Empty: the core group. */
  readonly apiGroup: string;
  readonly resource: string;
  readonly verbs: readonly string[];
  /** Of the object of this name alone. */
  readonly objectName?: string;
  /** `workers`: in every namespace where workers live; `cluster`: of objects without a namespace. */
  readonly scope: "workers" | "cluster";
  /** `workers`: to run workers at all; the others: for what the name says, where it is switched on. */
  readonly purpose: Purpose;
  /** Without it something is worse, not broken. */
  readonly isOptional?: boolean;
  /** One sentence. */
  readonly why: string;
}

export type Purpose =
  | "workers"
  | "capacity"
  | "infrastructure"
  | "tenants"
  | "tenantNamespaces"
  | "pullSecrets"
  | "prePull"
  | "attestation"
  | "workerRole";

const rbac = "rbac.authorization.k8s.io";
/** An apply creates what is missing; `get` finds what somebody else has prepared. */
const apply = ["get", "create", "patch"] as const;

/** Every right that the server uses: roles, manifests and the doctor's questions are made from this table. */
export const usedPermissions: readonly Permission[] = [
  {
    apiGroup: "",
    resource: "pods",
    verbs: ["create", "get", "list", "watch", "patch", "delete"],
    scope: "workers",
    purpose: "workers",
    why: "workers are pods",
  },
  {
    apiGroup: "",
    resource: "pods/log",
    verbs: ["get"],
    scope: "workers",
    purpose: "workers",
    isOptional: true,
    why: "the last lines of an agent that died go into the job's log",
  },
  {
    apiGroup: "",
    resource: "events",
    verbs: ["list", "watch"],
    scope: "workers",
    purpose: "workers",
    why: "events say why a pod does not start",
  },
  {
    apiGroup: "",
    resource: "secrets",
    verbs: ["create", "get", "list", "delete"],
    scope: "workers",
    purpose: "workers",
    why: "one-time tokens are delivered by Secret",
  },
  {
    apiGroup: "",
    resource: "resourcequotas",
    verbs: ["get", "list"],
    scope: "workers",
    purpose: "capacity",
    isOptional: true,
    why: "quotas bound the number of workers",
  },
  {
    apiGroup: "",
    resource: "nodes",
    verbs: ["get", "list", "watch"],
    scope: "cluster",
    purpose: "capacity",
    isOptional: true,
    why: "nodes bound the number of workers, and a lost node confirms a lost worker",
  },
  {
    apiGroup: "",
    resource: "secrets",
    verbs: ["get", "create", "patch"],
    scope: "workers",
    purpose: "pullSecrets",
    why: "image pull secrets are copied into tenants' namespaces",
  },
  infrastructure("", "namespaces", "cluster"),
  {
    apiGroup: "",
    resource: "namespaces",
    verbs: ["list"],
    scope: "cluster",
    purpose: "tenants",
    isOptional: true,
    why: "namespaces of tenants that an earlier server made are found again",
  },
  {
    apiGroup: "",
    resource: "pods",
    verbs: ["list", "watch"],
    scope: "cluster",
    purpose: "tenants",
    isOptional: true,
    why: "one watch sees the workers of all tenants",
  },
  {
    apiGroup: "",
    resource: "events",
    verbs: ["list", "watch"],
    scope: "cluster",
    purpose: "tenants",
    isOptional: true,
    why: "one watch sees the events of all tenants' pods",
  },
  // In a namespace that it has made the server gives itself its rights by this role, and by no other.
  {
    apiGroup: rbac,
    resource: "rolebindings",
    verbs: apply,
    scope: "cluster",
    purpose: "tenantNamespaces",
    why: "the server binds its rights in the namespaces that it makes for tenants",
  },
  {
    apiGroup: rbac,
    resource: "clusterroles",
    verbs: ["bind"],
    objectName: workersRole,
    scope: "cluster",
    purpose: "tenantNamespaces",
    why: "the server binds its rights in the namespaces that it makes for tenants",
  },
  infrastructure("", "serviceaccounts"),
  infrastructure(rbac, "roles"),
  infrastructure(rbac, "rolebindings"),
  infrastructure("", "resourcequotas"),
  infrastructure("", "limitranges"),
  infrastructure("networking.k8s.io", "networkpolicies"),
  {
    apiGroup: "apps",
    resource: "daemonsets",
    verbs: apply,
    scope: "workers",
    purpose: "prePull",
    why: "the worker image is pulled on every node ahead of time",
  },
  {
    apiGroup: "authentication.k8s.io",
    resource: "tokenreviews",
    verbs: ["create"],
    scope: "cluster",
    purpose: "attestation",
    why: "pods prove who they are by their token",
  },
  {
    apiGroup: "",
    resource: "configmaps",
    verbs: apply,
    scope: "workers",
    purpose: "attestation",
    why: "workers without a Secret find the server's certificate authority in a ConfigMap",
  },
  {
    apiGroup: "",
    resource: "configmaps",
    verbs: apply,
    scope: "workers",
    purpose: "attestation",
    why: "attested workers find the server's certificate authority in a ConfigMap",
  },
  // The API server lets nobody give a right that they do not have.
  {
    apiGroup: "",
    resource: "pods",
    verbs: ["deletecollection"],
    scope: "workers",
    purpose: "workerRole",
    why: "worker pods get the role of early deployments",
  },
  {
    apiGroup: "",
    resource: "pods/log",
    verbs: ["list", "watch", "create", "delete", "deletecollection"],
    scope: "workers",
    purpose: "workerRole",
    why: "worker pods get the role of early deployments",
  },
  {
    apiGroup: "",
    resource: "pods/exec",
    verbs: ["get", "list", "watch", "create", "delete", "deletecollection"],
    scope: "workers",
    purpose: "workerRole",
    why: "worker pods get the role of early deployments",
  },
  {
    apiGroup: "",
    resource: "pods/status",
    verbs: ["get", "update", "patch"],
    scope: "workers",
    purpose: "workerRole",
    why: "worker pods get the role of early deployments",
  },
];

function infrastructure(
  apiGroup: string,
  resource: string,
  scope: Permission["scope"] = "workers",
): Permission {
  return {
    apiGroup,
    resource,
    verbs: apply,
    scope,
    purpose: "infrastructure",
    why: "namespaces of workers are made and kept by the server",
  };
}

/** The rights that this configuration uses. */
export function permissionsOf(config: KubernetesConfig): readonly Permission[] {
  const isOn: Record<Purpose, boolean> = {
    workers: true,
    capacity: true,
    infrastructure: config.createInfrastructure,
    tenants: config.dynamicNamespaces,
    tenantNamespaces: config.dynamicNamespaces && config.createInfrastructure,
    pullSecrets: config.imagePullSecrets.length > 0,
    prePull: config.createInfrastructure && config.prePullImage,
    attestation: config.attestation,
    workerRole: config.createInfrastructure && config.bindWorkerRole,
  };
  return usedPermissions.filter(({ purpose }) => isOn[purpose]);
}

/** A rule of a Role or ClusterRole. */
export interface PolicyRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

/** As few rules as it takes: one for each group and resource, verbs without duplicates. */
export function rulesOf(permissions: readonly Permission[]): PolicyRule[] {
  const rules = new Map<string, { first: Permission; verbs: Set<string> }>();
  for (const permission of permissions) {
    const { apiGroup, resource, objectName = "", verbs } = permission;
    const key = `${apiGroup}/${resource}/${objectName}`;
    const rule = rules.get(key) ?? { first: permission, verbs: new Set() };
    for (const verb of verbs) rule.verbs.add(verb);
    rules.set(key, rule);
  }
  return [...rules.values()].map(({ first: { apiGroup, resource, objectName }, verbs }) => ({
    apiGroups: [apiGroup],
    resources: [resource],
    ...(objectName !== undefined && { resourceNames: [objectName] }),
    verbs: [...verbs],
  }));
}

/** The rules in a namespace of workers: what the server does there day by day, without making the namespace. */
export function workerRules(config: KubernetesConfig): PolicyRule[] {
  return rulesOf(
    permissionsOf(config).filter(
      ({ scope, purpose }) =>
        scope === "workers" && !["infrastructure", "prePull", "workerRole"].includes(purpose),
    ),
  );
}

/**
 * The rules of the cluster role that the server has in a namespace of workers. They hold those of `workerRules` too: nobody can give a
 * right that they do not have.
 */
export function namespaceRules(config: KubernetesConfig): PolicyRule[] {
  return rulesOf(permissionsOf(config).filter(({ scope }) => scope === "workers"));
}

/** The rules of the cluster role that the server has everywhere. */
export function clusterRules(config: KubernetesConfig): PolicyRule[] {
  return rulesOf(permissionsOf(config).filter(({ scope }) => scope === "cluster"));
}
