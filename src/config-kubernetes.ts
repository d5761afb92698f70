import { z } from "zod";
import { choice, flag, json, list, maybe, text, whole } from "./setting.ts";

// The settings of the Kubernetes provider. Where a default is empty, that of the profile of names holds (`src/provider/kubernetes/config.ts`).

const minute = 60_000;
const mebibyte = 1024 * 1024;

const stringMap = z.record(z.string().min(1), z.string());
const affinity = z.array(
  z.strictObject({
    labels: stringMap,
    topologyKey: z.string().min(1).default("kubernetes.io/hostname"),
    weight: z.int().min(1).max(100).default(100),
  }),
);
const tolerations = z.array(
  z.strictObject({
    key: z.string().exactOptional(),
    operator: z.enum(["Exists", "Equal"]).exactOptional(),
    value: z.string().exactOptional(),
    effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]).exactOptional(),
    tolerationSeconds: z.int().min(0).exactOptional(),
  }),
);
const mount = {
  name: z.string().min(1),
  mountPath: z.string().min(1),
  readOnly: z.boolean().exactOptional(),
};
const volumes = z.array(
  z.discriminatedUnion("kind", [
    z.strictObject({ kind: z.literal("pvc"), ...mount, claimName: z.string().min(1) }),
    z.strictObject({
      kind: z.literal("emptyDir"),
      ...mount,
      sizeBytes: z.int().min(1).exactOptional(),
      inMemory: z.boolean().exactOptional(),
    }),
    z.strictObject({ kind: z.literal("hostPath"), ...mount, path: z.string().min(1) }),
  ]),
);
const containers = z.array(z.looseObject({ name: z.string().min(1), image: z.string().min(1) }));

export const kubernetesShape = {
  kubernetesEnabled: maybe("Whether workers may be pods of a Kubernetes cluster; empty: no"),
  k8sEnabled: maybe("Other name of HODEI_KUBERNETES_ENABLED, which wins"),
  k8sNamesProfile: choice(
    { values: ["standard", "jobs", "legacy"], standard: "standard" },
    "Family of default names and values: `standard` (also called `jobs`: hodei-jobs-workers, hodei-jobs-worker, restricted pods) or `legacy` (hodei-workers, hodei-worker, baseline pods)",
  ),

  k8sKubeconfig: text("", "Kubeconfig file; empty: KUBECONFIG, the pod's own, `~/.kube/config`"),
  k8sKubeconfigFallback: text(
    "",
    "Kubeconfig files where HODEI_K8S_KUBECONFIG is empty; KUBECONFIG sets it",
  ),
  k8sContext: text("", "Context of the kubeconfig; empty: its current one"),
  k8sAllowInsecure: flag(false, "Whether an API server without TLS or verification is accepted"),
  k8sRequestTimeoutMs: whole(
    { least: 100, most: 10 * minute, standard: 30_000 },
    "How long one call to the API server may take",
  ),
  k8sWatchIdleTimeoutMs: whole(
    { least: 100, most: 60 * minute, standard: 150_000 },
    "Silence after which a watch is opened anew",
  ),
  k8sMaxConnections: whole(
    { least: 1, most: 1_000, standard: 32 },
    "Most connections to the API server, those of watches apart",
  ),

  k8sNamespace: text("", "Namespace of workers"),
  k8sEnableDynamicNamespaces: flag(false, "Whether every tenant has a namespace of its own"),
  k8sNamespacePrefix: text("hodei-tenant", "What tenants' namespaces begin with, before a dash"),
  k8sInstanceId: text(
    "",
    "Whose pods these are, where servers share a namespace; empty: the server's own id",
  ),
  k8sCreateInfrastructure: flag(
    true,
    "Whether the server makes namespaces, accounts, roles, quotas and policies itself",
  ),
  k8sBindWorkerRole: flag(
    false,
    "Whether worker pods' account may manage pods, as in early deployments; user code could then take over the namespace",
  ),
  k8sControlNamespace: text("hodei-system", "Namespace of the server"),
  k8sControlServiceAccount: text("hodei-control-plane", "Service account of the server"),
  k8sControlService: text("hodei-server", "Service of the server"),
  k8sControlUser: text("", "User name of a server outside the cluster; empty: the service account"),
  k8sServerCidrs: several(
    "Where a server outside the cluster is, `192.0.2.10/32`; empty: it is in the cluster",
    blocks(),
  ),
  k8sNetworkPolicyEnabled: flag(true, "Whether worker namespaces get network policies"),
  k8sAllowHttps: flag(true, "Whether workers reach port 443 of public addresses"),
  k8sDnsNamespaces: several("Namespaces of the cluster's DNS", names(), ["kube-system"]),
  k8sDnsCidrs: several("DNS caches on the nodes", blocks(), ["169.254.20.10/32"]),
  k8sQuotaEnabled: maybe("Whether worker namespaces get a ResourceQuota; empty: not if legacy"),
  k8sQuota: json(
    z.record(z.string().min(1), z.string().regex(quantityPattern(), "is no quantity")),
    {},
    'Limits of that quota, `{"pods": "100"}`; empty: pods 100, 50 CPUs and 200Gi requested, twice that as limits',
  ),
  k8sLimitRangeEnabled: flag(
    true,
    "Whether worker namespaces get a LimitRange with the defaults below",
  ),

  workerImage: text("", "Image of workers, unless the job names one"),
  k8sImagePullPolicy: choice(
    { values: ["ifnotpresent", "always", "never"], standard: "ifnotpresent" },
    "When a node pulls that image",
  ),
  k8sImagePullSecret: several(
    "Names of image pull secrets, copied into tenants' namespaces",
    names(),
  ),
  k8sPrePullImage: flag(false, "Whether every node pulls the worker image ahead of time"),
  k8sServiceAccount: text("", "Service account of worker pods"),
  k8sPodSecurityStandard: choice(
    { values: ["default", "privileged", "baseline", "restricted"], standard: "default" },
    "Pod Security level of worker namespaces and pods",
  ),
  k8sRunAsUser: whole(
    { least: 0, most: 2 ** 31 - 1, standard: 1_000 },
    "User and group of worker pods",
  ),
  k8sReadOnlyRoot: flag(true, "Whether a worker's root file system is read-only"),
  k8sBaseLabels: json(stringMap, {}, "Labels of every worker pod"),
  k8sBaseAnnotations: json(stringMap, {}, "Annotations of every worker pod"),
  k8sNodeSelector: json(stringMap, {}, "Labels of the nodes that workers may be on"),
  k8sTolerations: json(tolerations, [], "Taints that workers tolerate, as in a pod"),
  k8sPodAffinity: json(
    affinity,
    [],
    'Pods to be near to, `[{"labels": {"app": "cache"}, "weight": 50}]`',
  ),
  k8sPodAntiAffinity: json(affinity, [], "Pods to be away from"),
  k8sGpuNodeLabel: text(
    "accelerator",
    "Label by which nodes name the model of their GPUs, for jobs that want one; none: models choose no nodes",
  ),
  k8sRuntimeClass: text("", "Runtime class of worker pods"),
  k8sPriorityClass: text("", "Priority class of worker pods"),
  k8sVolumes: json(
    volumes,
    [],
    'Volumes of worker pods, `[{"kind": "pvc", "name": "cache", "claimName": "cache", "mountPath": "/cache"}]`; also `emptyDir` and, if privileged, `hostPath`',
  ),
  k8sInitContainers: json(containers, [], "Init containers of worker pods, as in a pod"),
  k8sSidecars: json(containers, [], "Sidecar containers of worker pods, as in a pod"),

  k8sDefaultCpuRequest: quantity("CPU of a worker whose job names none"),
  k8sDefaultMemoryRequest: quantity("Memory of a worker whose job names none"),
  k8sDefaultCpuLimit: quantity("CPU limit of a worker whose job names no CPU"),
  k8sDefaultMemoryLimit: quantity("Memory limit of a worker whose job names no memory"),
  k8sAgentMemoryBytes: whole(
    { least: 0, most: 2 ** 40, standard: 64 * mebibyte },
    "Memory that a worker gets for the agent, beside the job's own",
  ),
  k8sAgentCpuMillis: whole(
    { least: 0, most: 64_000, standard: 500 },
    "Least limit of processors of a worker's pod, in thousandths, so that the agent of a small job starts at once; the job's own wish stays the pod's request",
  ),
  k8sScratchBytes: whole(
    { least: mebibyte, most: 2 ** 50, standard: 1024 * mebibyte },
    "Space in the work directory and in /tmp, each, where the job names no disk",
  ),
  k8sMaxWorkers: whole(
    { least: 1, most: 1_000_000, standard: 100 },
    "Most worker pods at the same time",
  ),
  k8sTtlSecondsAfterFinished: z
    .union([z.literal(""), z.preprocess(numberIn, z.int().min(0).max(31_536_000))], {
      error: "has to be a whole number from 0 to 31536000",
    })
    .default("")
    .describe("How long a failed pod is kept; empty: 3600, legacy 300"),
  k8sCreationTimeoutSeconds: whole(
    { least: 1, most: 3_600, standard: 60 },
    "How long making a pod may take until it is given up",
  ),
  k8sTerminationGraceSeconds: whole(
    { least: 0, most: 86_400, standard: 30 },
    "Time that a pod has between the signal to end and the kill",
  ),
  k8sMaxLifetimeSeconds: whole(
    { least: 60, most: 31_536_000, standard: 86_400 },
    "Longest life of a reusable worker pod; one for a job lives as long as its job may",
  ),
  k8sAttestation: flag(
    false,
    "Whether pods prove who they are by a token of the cluster instead of a one-time token in a Secret",
  ),
  k8sAttestationAudience: text("hodei", "Audience of those tokens"),
  k8sPricePerHour: json(
    z.strictObject({
      cpuCore: z.number().min(0).default(0.04),
      memoryGib: z.number().min(0).default(0.005),
      gpu: z.number().min(0).default(1),
    }),
    { cpuCore: 0.04, memoryGib: 0.005, gpu: 1 },
    "Cost of an hour, in any unit: what the strategy `lowest_cost` compares",
  ),
  k8sEnableHpa: flag(
    false,
    "Whether the manifests scale the server; needs a store that replicas share",
  ),
  k8sHpa: json(
    z.strictObject({
      minReplicas: z.int().min(1).default(2),
      maxReplicas: z.int().min(1).default(10),
      cpuPercent: z.int().min(1).max(1_000).default(70),
      memoryPercent: z.int().min(1).max(1_000).default(80),
    }),
    { minReplicas: 2, maxReplicas: 10, cpuPercent: 70, memoryPercent: 80 },
    "How many servers that gives, and at which use of what they request another comes",
  ),
};

function quantity(description: string) {
  return z
    .string()
    .transform((value) => value.trim())
    .refine((value) => value === "" || isPositive(value), {
      error: "has to be a quantity such as 500m or 4Gi",
    })
    .default("")
    .describe(description);
}

function quantityPattern(): RegExp {
  return /^(\d+\.?\d*|\.\d+)([eE][+-]?\d+|Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E)?$/;
}

function isPositive(text: string): boolean {
  return quantityPattern().test(text) && /[1-9]/.test(text.replace(/[eE].*$/, ""));
}

interface Items {
  readonly pattern: RegExp;
  readonly what: string;
}

function names(): Items {
  return { pattern: /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/, what: "a name" };
}

function blocks(): Items {
  return { pattern: /^[0-9a-fA-F.:]+\/\d{1,3}$/, what: "a block of addresses: 192.0.2.10/32" };
}

/** Several values with commas between them. */
function several(description: string, { pattern, what }: Items, standard: string[] = []) {
  return list(z.string().regex(pattern, `is not ${what}`), description)
    .default(standard)
    .describe(description);
}

function numberIn(value: unknown): unknown {
  return typeof value === "string" && /^\s*\d{1,16}\s*$/.test(value) ? Number(value) : value;
}

interface Switches {
  readonly kubernetesEnabled: boolean | "";
  readonly k8sEnabled: boolean | "";
}

/** Whether the Kubernetes provider is on: by either name, off where neither says so. */
export function isKubernetesEnabled({ kubernetesEnabled, k8sEnabled }: Switches): boolean {
  return (kubernetesEnabled === "" ? k8sEnabled : kubernetesEnabled) === true;
}

/** One line each about what was given twice. */
export function kubernetesWarnings({ kubernetesEnabled, k8sEnabled }: Switches): string[] {
  const isContradiction =
    kubernetesEnabled !== "" && k8sEnabled !== "" && kubernetesEnabled !== k8sEnabled;
  return isContradiction
    ? ["HODEI_K8S_ENABLED says otherwise than HODEI_KUBERNETES_ENABLED, which wins"]
    : [];
}
