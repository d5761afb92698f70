/** What the double serves. Plural names are unique here, so they alone name a resource. */
export interface ResourceType {
  readonly plural: Resource;
  readonly kind: string;
  /** The empty text is the core group. */
  readonly group: string;
  readonly version: string;
  readonly isNamespaced: boolean;
  /** The name of the class in the generated models of the client library. */
  readonly model: string;
  readonly shortNames: readonly string[];
  /** A change of anything but metadata and status counts `metadata.generation` up. */
  readonly hasGeneration: boolean;
}

const table = {
  namespaces: ["Namespace", "", "v1", "cluster", "ns"],
  nodes: ["Node", "", "v1", "cluster", "no"],
  persistentvolumes: ["PersistentVolume", "", "v1", "cluster", "pv"],
  pods: ["Pod", "", "v1", "generation", "po"],
  secrets: ["Secret", "", "v1", "namespaced", ""],
  configmaps: ["ConfigMap", "", "v1", "namespaced", "cm"],
  serviceaccounts: ["ServiceAccount", "", "v1", "namespaced", "sa"],
  services: ["Service", "", "v1", "namespaced", "svc"],
  events: ["Event", "", "v1", "namespaced", "ev"],
  resourcequotas: ["ResourceQuota", "", "v1", "namespaced", "quota"],
  limitranges: ["LimitRange", "", "v1", "namespaced", "limits"],
  persistentvolumeclaims: ["PersistentVolumeClaim", "", "v1", "namespaced", "pvc"],
  roles: ["Role", "rbac.authorization.k8s.io", "v1", "namespaced", ""],
  rolebindings: ["RoleBinding", "rbac.authorization.k8s.io", "v1", "namespaced", ""],
  clusterroles: ["ClusterRole", "rbac.authorization.k8s.io", "v1", "cluster", ""],
  clusterrolebindings: ["ClusterRoleBinding", "rbac.authorization.k8s.io", "v1", "cluster", ""],
  networkpolicies: ["NetworkPolicy", "networking.k8s.io", "v1", "generation", "netpol"],
  deployments: ["Deployment", "apps", "v1", "generation", "deploy"],
  daemonsets: ["DaemonSet", "apps", "v1", "generation", "ds"],
  replicasets: ["ReplicaSet", "apps", "v1", "generation", "rs"],
  horizontalpodautoscalers: ["HorizontalPodAutoscaler", "autoscaling", "v2", "namespaced", "hpa"],
  poddisruptionbudgets: ["PodDisruptionBudget", "policy", "v1", "generation", "pdb"],
  leases: ["Lease", "coordination.k8s.io", "v1", "namespaced", ""],
  priorityclasses: ["PriorityClass", "scheduling.k8s.io", "v1", "generation-cluster", "pc"],
  storageclasses: ["StorageClass", "storage.k8s.io", "v1", "cluster", "sc"],
} as const;

export type Resource = keyof typeof table;

const models: Partial<Record<Resource, string>> = { events: "CoreV1Event" };

export const resourceTypes = {} as Record<Resource, ResourceType>;
for (const [plural, [kind, group, version, scope, short]] of Object.entries(table)) {
  if (!isResource(plural)) continue;
  resourceTypes[plural] = {
    plural,
    kind,
    group,
    version,
    isNamespaced: !scope.endsWith("cluster"),
    model: models[plural] ?? `V${version.slice(1)}${kind}`,
    shortNames: short === "" ? [] : [short],
    hasGeneration: scope.startsWith("generation"),
  };
}

export function isResource(plural: string): plural is Resource {
  return Object.hasOwn(table, plural);
}

export function apiVersionOf(type: ResourceType): string {
  return type.group === "" ? type.version : `${type.group}/${type.version}`;
}
