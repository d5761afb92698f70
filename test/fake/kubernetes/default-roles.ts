import type { Objects } from "./objects.ts";

export interface Rule {
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
  readonly verbs: readonly string[];
}

const see = ["get", "list", "watch"];
const change = ["create", "delete", "deletecollection", "patch", "update"];
const sets: Readonly<Record<string, readonly string[]>> = {
  see,
  change,
  "change+see": [...change, ...see],
  "see+change": [...see, ...change],
  create: ["create"],
  impersonate: ["impersonate", ...change, ...see],
  all: ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
};

/** The aggregated `admin` of 1.36: group, set of verbs, resources. */
const adminTable = `
core see bindings endpoints limitranges namespaces namespaces/status persistentvolumeclaims/status
core see pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status services/status
core change+see configmaps events persistentvolumeclaims pods replicationcontrollers replicationcontrollers/scale services
core see+change pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy
core impersonate serviceaccounts
core create pods/eviction serviceaccounts/token
apps see controllerrevisions daemonsets/status deployments/status replicasets/status statefulsets/status
apps change+see daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale
apps change deployments/rollback
authorization.k8s.io create localsubjectaccessreviews
autoscaling change+see horizontalpodautoscalers
autoscaling see horizontalpodautoscalers/status
batch change+see cronjobs jobs
batch see cronjobs/status jobs/status
coordination.k8s.io all leases
discovery.k8s.io see endpointslices
events.k8s.io change+see events
extensions see daemonsets/status deployments/status ingresses/status replicasets/status
extensions change+see daemonsets deployments deployments/scale ingresses networkpolicies replicasets replicasets/scale
extensions change+see replicationcontrollers/scale
extensions change deployments/rollback
networking.k8s.io change+see ingresses networkpolicies
networking.k8s.io see ingresses/status
policy change+see poddisruptionbudgets
policy see poddisruptionbudgets/status
rbac.authorization.k8s.io all rolebindings roles
resource.k8s.io change+see resourceclaims resourceclaimtemplates
resource.k8s.io see resourceclaims/status
`;

const adminRules: readonly Rule[] = adminTable
  .trim()
  .split("\n")
  .map((line) => {
    const [group = "", set = "", ...resources] = line.split(" ");
    return { apiGroups: [group === "core" ? "" : group], resources, verbs: sets[set] ?? [] };
  });

const isRbac = (rule: Rule): boolean =>
  rule.apiGroups?.some(
    (group) => group.startsWith("rbac.") || group.startsWith("authorization"),
  ) === true;
const isSecret = (resource: string): boolean => resource === "secrets";

const editRules = adminRules.filter((rule) => !isRbac(rule));
const viewRules = editRules
  .map((rule) => ({
    ...rule,
    resources:
      rule.resources?.filter(
        (one) => !isSecret(one) && !/(attach|exec|forward|proxy)$/.test(one),
      ) ?? [],
    verbs: rule.verbs.filter((verb) => see.includes(verb)),
  }))
  .filter(({ verbs }) => verbs.length > 0);

const everything: readonly Rule[] = [
  { apiGroups: ["*"], resources: ["*"], verbs: ["*"] },
  { nonResourceURLs: ["*"], verbs: ["*"] },
];

const discovery: readonly Rule[] = [
  {
    nonResourceURLs: [
      "/api",
      "/api/*",
      "/apis",
      "/apis/*",
      "/healthz",
      "/livez",
      "/readyz",
      "/openapi",
      "/openapi/*",
      "/version",
      "/version/",
    ],
    verbs: ["get"],
  },
];
const publicInfo: readonly Rule[] = [
  { nonResourceURLs: ["/healthz", "/livez", "/readyz", "/version", "/version/"], verbs: ["get"] },
];
const basicUser: readonly Rule[] = [
  {
    apiGroups: ["authorization.k8s.io"],
    resources: ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    verbs: ["create"],
  },
  { apiGroups: ["authentication.k8s.io"], resources: ["selfsubjectreviews"], verbs: ["create"] },
];
const authDelegator: readonly Rule[] = [
  { apiGroups: ["authentication.k8s.io"], resources: ["tokenreviews"], verbs: ["create"] },
  { apiGroups: ["authorization.k8s.io"], resources: ["subjectaccessreviews"], verbs: ["create"] },
];

const clusterRoles: Readonly<Record<string, readonly Rule[]>> = {
  "cluster-admin": everything,
  admin: adminRules,
  edit: editRules,
  view: viewRules,
  "system:discovery": discovery,
  "system:public-info-viewer": publicInfo,
  "system:basic-user": basicUser,
  "system:auth-delegator": authDelegator,
};

const bindings: Readonly<Record<string, readonly string[]>> = {
  "cluster-admin": ["system:masters"],
  "system:discovery": ["system:authenticated"],
  "system:public-info-viewer": ["system:authenticated", "system:unauthenticated"],
  "system:basic-user": ["system:authenticated"],
};

/** What every cluster has from the start. */
export function addDefaultRoles(objects: Objects): void {
  for (const [name, rules] of Object.entries(clusterRoles)) {
    objects.create("clusterroles", { metadata: { name }, rules });
  }
  const apiGroup = "rbac.authorization.k8s.io";
  for (const [name, groups] of Object.entries(bindings)) {
    objects.create("clusterrolebindings", {
      metadata: { name },
      subjects: groups.map((group) => ({ kind: "Group", apiGroup, name: group })),
      roleRef: { apiGroup, kind: "ClusterRole", name },
    });
  }
}
