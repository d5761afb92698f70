import type { V1Container, V1Toleration } from "@kubernetes/client-node";

/** How Pod Security admission treats a namespace. */
export type PodSecurityStandard = "privileged" | "baseline" | "restricted";

/** Which family of names is the default: today's, or that of the first deployments. */
export type NamesProfile = "standard" | "legacy";

/** A Kubernetes quantity, `500m` or `4Gi`. */
export type Quantity = string;

export interface PodAffinity {
  /** Labels of the pods to be near to, or away from. */
  readonly labels: Readonly<Record<string, string>>;
  readonly topologyKey: string;
  /** 1 to 100. */
  readonly weight: number;
}

export type WorkerVolume = {
  readonly name: string;
  readonly mountPath: string;
  readonly readOnly?: boolean;
} & (
  | { readonly kind: "pvc"; readonly claimName: string }
  | { readonly kind: "emptyDir"; readonly sizeBytes?: number; readonly inMemory?: boolean }
  /** Only where pods are privileged. */
  | { readonly kind: "hostPath"; readonly path: string }
);

export interface SecurityContext {
  readonly runAsUser: number;
  readonly runAsGroup: number;
  readonly fsGroup: number;
  readonly readOnlyRootFilesystem: boolean;
}

export interface HpaConfig {
  readonly minReplicas: number;
  readonly maxReplicas: number;
  readonly cpuPercent: number;
  readonly memoryPercent: number;
  readonly scaleUpWindowSeconds: number;
  readonly scaleDownWindowSeconds: number;
}

/** Who the control plane is, as worker namespaces see it. */
export interface ControlPlane {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** The Service that agents dial. */
  readonly service: string;
  /** Labels of the server's pods. */
  readonly podLabels: Readonly<Record<string, string>>;
  /** Port of the listener for agents. */
  readonly agentPort: number;
  /** Further ones, where replicas outside the cluster have different ports. */
  readonly otherAgentPorts?: readonly number[];
  /** A server outside the cluster: its user name instead of a service account. */
  readonly user: string | undefined;
  /** A server outside the cluster: where it is, `192.0.2.10/32`. */
  readonly cidrs: readonly string[];
}

export interface NetworkPolicyConfig {
  readonly isEnabled: boolean;
  /** Port 443 of public addresses. */
  readonly allowHttps: boolean;
  readonly dnsNamespaces: readonly string[];
  /** Resolvers on the nodes, such as NodeLocal DNSCache. */
  readonly dnsCidrs: readonly string[];
  /** Not reachable on port 443. */
  readonly exceptCidrs: readonly string[];
}

export interface QuotaConfig {
  readonly isEnabled: boolean;
  readonly hard: Readonly<Record<string, string>>;
}

export interface LimitRangeConfig {
  readonly isEnabled: boolean;
  readonly defaultCpu: Quantity;
  readonly defaultMemory: Quantity;
  readonly defaultRequestCpu: Quantity;
  readonly defaultRequestMemory: Quantity;
}

/** Cost of an hour of one unit, in units of the operator's choice. */
export interface HourlyPrice {
  readonly cpuCore: number;
  readonly memoryGib: number;
  readonly gpu: number;
}

export interface KubernetesConfig {
  readonly names: NamesProfile;
  /** Where workers live whose tenants have no namespace of their own. */
  readonly namespace: string;
  readonly dynamicNamespaces: boolean;
  /** Without trailing dashes. */
  readonly namespacePrefix: string;
  /** Whose pods these are; stays the same when the server restarts. */
  readonly instance: string;

  /** The text of a kubeconfig, before every file. */
  readonly kubeconfigText?: string;
  readonly kubeconfigPath: string | undefined;
  /** The text of KUBECONFIG: one file or several. */
  readonly kubeconfigEnv: string | undefined;
  readonly context: string | undefined;
  /** Whether plain HTTP to other machines, and TLS without verification, are allowed. */
  readonly allowInsecure: boolean;
  readonly requestTimeoutMs: number;
  readonly watchIdleTimeoutMs: number;
  /** Connections to the API server, those of watches apart. */
  readonly maxConnections: number;

  readonly image: string;
  readonly imagePullPolicy: "IfNotPresent" | "Always" | "Never";
  /** Secrets in the worker namespace; copied into every namespace of tenants. */
  readonly imagePullSecrets: readonly string[];
  readonly prePullImage: boolean;
  readonly serviceAccount: string;
  readonly baseLabels: Readonly<Record<string, string>>;
  readonly baseAnnotations: Readonly<Record<string, string>>;
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly tolerations: readonly V1Toleration[];
  readonly podAffinity: readonly PodAffinity[];
  readonly podAntiAffinity: readonly PodAffinity[];
  /** The label by which nodes say which model of GPU they have; empty: models choose no nodes. */
  readonly gpuNodeLabel: string;
  readonly runtimeClassName: string | undefined;
  readonly priorityClassName: string | undefined;

  readonly defaultCpuRequest: Quantity;
  readonly defaultMemoryRequest: Quantity;
  readonly defaultCpuLimit: Quantity;
  readonly defaultMemoryLimit: Quantity;
  /** What the agent gets beside the job's own memory. */
  readonly agentMemoryBytes: number;
  /** The least limit of a pod's processors: the agent starts under the limit of its job. */
  readonly agentCpuMillis: number;
  /** Space of the work directory and of /tmp, each. */
  readonly scratchBytes: number;

  readonly podSecurityStandard: PodSecurityStandard;
  readonly securityContext: SecurityContext;
  readonly volumes: readonly WorkerVolume[];
  readonly initContainers: readonly V1Container[];
  readonly sidecars: readonly V1Container[];

  /** How long a failed pod is kept. */
  readonly ttlSecondsAfterFinished: number;
  readonly creationTimeoutSeconds: number;
  readonly terminationGraceSeconds: number;
  /** `activeDeadlineSeconds` of a worker whose longest life nobody can say. */
  readonly maxLifetimeSeconds: number;
  readonly maxWorkers: number;
  /** Prove a worker by its service-account token instead of an OTP in a Secret (DESIGN G15). */
  readonly attestation: boolean;
  readonly attestationAudience: string;
  readonly price: HourlyPrice;

  /** Whether the server creates namespaces and what belongs to them. */
  readonly createInfrastructure: boolean;
  readonly controlPlane: ControlPlane;
  /** Whether worker pods may manage pods, as early deployments had it. */
  readonly bindWorkerRole: boolean;
  readonly quota: QuotaConfig;
  readonly limitRange: LimitRangeConfig;
  readonly networkPolicy: NetworkPolicyConfig;
  readonly enableHpa: boolean;
  readonly hpa: HpaConfig;
}

const privateCidrs = [
  "10.0.0.0/8",
  "100.64.0.0/10",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "fc00::/7",
  "fe80::/10",
];

/** What a profile of names means beside the names. */
const profiles = {
  standard: {
    namespace: "hodei-jobs-workers",
    serviceAccount: "hodei-jobs-worker",
    image: "hodei-jobs-worker:latest",
    baseLabels: { app: "hodei-jobs-worker" },
    defaultCpuRequest: "500m",
    defaultMemoryRequest: "1Gi",
    defaultCpuLimit: "2",
    defaultMemoryLimit: "4Gi",
    podSecurityStandard: "restricted",
    ttlSecondsAfterFinished: 3_600,
    hasQuota: true,
  },
  legacy: {
    namespace: "hodei-workers",
    serviceAccount: "hodei-worker",
    image: "hodei-worker:latest",
    baseLabels: { app: "hodei-worker" },
    defaultCpuRequest: "100m",
    defaultMemoryRequest: "128Mi",
    defaultCpuLimit: "1000m",
    defaultMemoryLimit: "512Mi",
    podSecurityStandard: "baseline",
    ttlSecondsAfterFinished: 300,
    hasQuota: false,
  },
} as const;

/** The defaults of a profile of names. */
export function defaultsOf(names: NamesProfile): KubernetesConfig {
  const { hasQuota, ...profile } = profiles[names];
  return {
    names,
    ...profile,
    ...placement,
    ...connection,
    ...lifecycle,
    quota: { isEnabled: hasQuota, hard: defaultQuota },
    limitRange: {
      isEnabled: true,
      defaultCpu: profile.defaultCpuLimit,
      defaultMemory: profile.defaultMemoryLimit,
      defaultRequestCpu: profile.defaultCpuRequest,
      defaultRequestMemory: profile.defaultMemoryRequest,
    },
    controlPlane: {
      namespace: "hodei-system",
      serviceAccount: "hodei-control-plane",
      service: "hodei-server",
      podLabels: { "app.kubernetes.io/name": "hodei", "app.kubernetes.io/component": "server" },
      agentPort: 50_051,
      user: undefined,
      cidrs: [],
    },
    networkPolicy: {
      isEnabled: true,
      allowHttps: true,
      dnsNamespaces: ["kube-system"],
      dnsCidrs: ["169.254.20.10/32"],
      exceptCidrs: privateCidrs,
    },
  };
}

const defaultQuota = {
  pods: "100",
  "requests.cpu": "50",
  "requests.memory": "200Gi",
  "limits.cpu": "100",
  "limits.memory": "400Gi",
};

const placement = {
  dynamicNamespaces: false,
  namespacePrefix: "hodei-tenant",
  instance: "default",
  imagePullPolicy: "IfNotPresent",
  imagePullSecrets: [],
  prePullImage: false,
  baseAnnotations: {},
  nodeSelector: {},
  tolerations: [],
  podAffinity: [],
  podAntiAffinity: [],
  gpuNodeLabel: "accelerator",
  runtimeClassName: undefined,
  priorityClassName: undefined,
  volumes: [],
  initContainers: [],
  sidecars: [],
  securityContext: {
    runAsUser: 1_000,
    runAsGroup: 1_000,
    fsGroup: 1_000,
    readOnlyRootFilesystem: true,
  },
} as const;

const connection = {
  kubeconfigPath: undefined,
  kubeconfigEnv: undefined,
  context: undefined,
  allowInsecure: false,
  requestTimeoutMs: 30_000,
  watchIdleTimeoutMs: 150_000,
  maxConnections: 32,
} as const;

const lifecycle = {
  agentMemoryBytes: 64 * 1024 * 1024,
  agentCpuMillis: 500,
  scratchBytes: 1024 * 1024 * 1024,
  creationTimeoutSeconds: 60,
  terminationGraceSeconds: 30,
  maxLifetimeSeconds: 86_400,
  maxWorkers: 100,
  attestation: false,
  attestationAudience: "hodei",
  price: { cpuCore: 0.04, memoryGib: 0.005, gpu: 1 },
  createInfrastructure: true,
  bindWorkerRole: false,
  enableHpa: false,
  hpa: {
    minReplicas: 2,
    maxReplicas: 10,
    cpuPercent: 70,
    memoryPercent: 80,
    scaleUpWindowSeconds: 60,
    scaleDownWindowSeconds: 300,
  },
} as const;

export const defaultKubernetesConfig: KubernetesConfig = defaultsOf("standard");

/** The prefix of tenants' namespaces, the same with trailing dashes and without. */
export function plainPrefix(prefix: string): string {
  return prefix.replace(/-+$/, "");
}
