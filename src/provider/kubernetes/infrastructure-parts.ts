import type { KubernetesConfig } from "./config.ts";
import { keys, labelValueOf } from "./names.ts";
import { type PolicyRule, workerRules, workersRole } from "./permissions.ts";
import { formatMillis, parseMillis } from "./quantity.ts";

/** An object as the API server takes it. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** What the objects of a worker namespace are called. */
export interface InfrastructureNames {
  readonly role: string;
  readonly binding: string;
  /** Of the control plane's rights where the other two are given to worker pods. */
  readonly controlRole: string;
  readonly controlBinding: string;
  readonly quota: string;
  readonly limits: string;
  readonly defaultDeny: string;
  readonly networkPolicy: string;
  readonly prePull: string;
}

/** The names that a profile of names gives. */
export function infrastructureNames({ names }: KubernetesConfig): InfrastructureNames {
  if (names === "legacy") {
    return {
      role: "hodei-provider",
      binding: "hodei-provider",
      controlRole: "hodei-control",
      controlBinding: "hodei-control",
      quota: "hodei-workers-quota",
      limits: "hodei-workers-limits",
      defaultDeny: "hodei-workers-default-deny",
      networkPolicy: "hodei-workers-egress",
      prePull: "hodei-workers-pre-pull",
    };
  }
  return {
    role: "hodei-jobs-worker-role",
    binding: "hodei-jobs-worker-binding",
    controlRole: "hodei-jobs-control-role",
    controlBinding: "hodei-jobs-control-binding",
    quota: "hodei-jobs-workers-quota",
    limits: "hodei-jobs-workers-limits",
    defaultDeny: "hodei-jobs-workers-default-deny",
    networkPolicy: "hodei-jobs-workers-netpol",
    prePull: "hodei-jobs-workers-pre-pull",
  };
}

export interface Inside {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Without the server's instance: servers that share a namespace would take it from each other for ever. */
export function commonLabels(tenant: string | undefined): Record<string, string> {
  return {
    "app.kubernetes.io/name": "hodei",
    "app.kubernetes.io/component": "workers",
    "app.kubernetes.io/managed-by": "hodei",
    [keys.managed]: "true",
    ...(tenant !== undefined && { [keys.tenantId]: labelValueOf(tenant) }),
  };
}

export function namespaceObject(
  config: KubernetesConfig,
  name: string,
  tenant: string | undefined,
): KubernetesObject {
  const level = config.podSecurityStandard;
  const security: Record<string, string> = {};
  for (const mode of ["enforce", "audit", "warn"]) {
    security[`pod-security.kubernetes.io/${mode}`] = level;
    security[`pod-security.kubernetes.io/${mode}-version`] = "latest";
  }
  return {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: {
      name,
      labels: {
        ...commonLabels(tenant),
        ...(tenant !== undefined && { "hodei.io/tenant-namespace": "true" }),
        ...security,
      },
    },
  };
}

const rbac = "rbac.authorization.k8s.io";

/** As early deployments gave it to worker pods. */
const seedRules: readonly PolicyRule[] = [
  {
    apiGroups: [""],
    resources: ["pods", "pods/log", "pods/exec"],
    verbs: ["get", "list", "watch", "create", "delete", "deletecollection"],
  },
  { apiGroups: [""], resources: ["pods/status"], verbs: ["get", "update", "patch"] },
];

export function rightsObjects(config: KubernetesConfig, inside: Inside): KubernetesObject[] {
  const names = infrastructureNames(config);
  const server = controlSubject(config);
  if (!config.bindWorkerRole) {
    return rolePair({ role: names.role, binding: names.binding }, server, {
      inside,
      rules: workerRules(config),
    });
  }
  const worker = {
    kind: "ServiceAccount",
    name: config.serviceAccount,
    namespace: inside.namespace,
  };
  // Apart from each other: the server's rights reach Secrets, which no worker may read.
  return [
    ...rolePair({ role: names.controlRole, binding: names.controlBinding }, server, {
      inside,
      rules: workerRules(config),
    }),
    ...rolePair({ role: names.role, binding: names.binding }, worker, { inside, rules: seedRules }),
  ];
}

/** The server, as a binding names it. */
export function controlSubject({ controlPlane }: KubernetesConfig) {
  const { user, serviceAccount, namespace } = controlPlane;
  return user === undefined
    ? { kind: "ServiceAccount", name: serviceAccount, namespace }
    : { kind: "User", apiGroup: rbac, name: user };
}

/** What gives the server its rights in a namespace of workers. */
export function workersBinding(config: KubernetesConfig, inside: Inside) {
  return {
    apiVersion: `${rbac}/v1`,
    kind: "RoleBinding",
    metadata: { name: workersRole, ...inside },
    roleRef: { apiGroup: rbac, kind: "ClusterRole", name: workersRole },
    subjects: [controlSubject(config)],
  };
}

function rolePair(
  names: { readonly role: string; readonly binding: string },
  subject: object,
  what: { readonly inside: Inside; readonly rules: readonly PolicyRule[] },
): KubernetesObject[] {
  return [
    {
      apiVersion: `${rbac}/v1`,
      kind: "Role",
      metadata: { name: names.role, ...what.inside },
      rules: what.rules,
    },
    {
      apiVersion: `${rbac}/v1`,
      kind: "RoleBinding",
      metadata: { name: names.binding, ...what.inside },
      subjects: [subject],
      roleRef: { kind: "Role", name: names.role, apiGroup: rbac },
    },
  ];
}

export function limitRange(config: KubernetesConfig, inside: Inside): KubernetesObject {
  const { defaultCpu, defaultMemory, defaultRequestCpu, defaultRequestMemory } = config.limitRange;
  return {
    apiVersion: "v1",
    kind: "LimitRange",
    metadata: { name: infrastructureNames(config).limits, ...inside },
    spec: {
      limits: [
        {
          type: "Container",
          default: { cpu: plainCpu(defaultCpu), memory: defaultMemory },
          defaultRequest: { cpu: plainCpu(defaultRequestCpu), memory: defaultRequestMemory },
        },
      ],
    },
  };
}

/** As the API server stores it: 1000m is 1. */
function plainCpu(quantity: string): string {
  const millis = parseMillis(quantity);
  return millis === undefined ? quantity : formatMillis(millis);
}

/** A pod on every node that does nothing but have the worker image there. */
export function prePull(config: KubernetesConfig, inside: Inside): KubernetesObject {
  const labels = { "app.kubernetes.io/name": "hodei", "app.kubernetes.io/component": "pre-pull" };
  const small = { cpu: "10m", memory: "16Mi" };
  return {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name: infrastructureNames(config).prePull, ...inside },
    spec: {
      selector: { matchLabels: labels },
      updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: "100%" } },
      template: {
        metadata: { labels },
        spec: {
          serviceAccountName: config.serviceAccount,
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: 0,
          nodeSelector: config.nodeSelector,
          tolerations: config.tolerations,
          securityContext: {
            runAsNonRoot: true,
            runAsUser: config.securityContext.runAsUser,
            seccompProfile: { type: "RuntimeDefault" },
          },
          containers: [
            {
              name: "image",
              image: config.image,
              imagePullPolicy: config.imagePullPolicy,
              command: ["sleep", "infinity"],
              resources: { requests: small, limits: small },
              securityContext: {
                allowPrivilegeEscalation: false,
                readOnlyRootFilesystem: true,
                capabilities: { drop: ["ALL"] },
              },
            },
          ],
        },
      },
    },
  };
}
