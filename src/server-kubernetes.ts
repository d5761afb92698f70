import type { Config } from "#config.ts";
import { HodeiError } from "#error.ts";
import { variableName } from "./setting.ts";
import {
  defaultsOf,
  type KubernetesConfig,
  type NamesProfile,
} from "#provider/kubernetes/config.ts";
import { KubernetesConfigBuilder } from "#provider/kubernetes/config-builder.ts";

/** What a server knows of itself beside its settings. */
export interface ServerIdentity {
  /** Stays the same when the server restarts. */
  readonly instance?: string;
  /** Where agents connect, as bound; the setting's unless given. */
  readonly agentPort?: number;
}

/** The Kubernetes provider's configuration. Error: `invalid_argument`, naming what is wrong. */
export function kubernetesConfigOf(
  config: Config,
  identity: ServerIdentity = {},
): KubernetesConfig {
  const names: NamesProfile = config.k8sNamesProfile === "legacy" ? "legacy" : "standard";
  const defaults = defaultsOf(names);
  const given: Partial<KubernetesConfig> = {
    names,
    ...connectionOf(config),
    ...placeOf(config, identity),
    ...podOf(config, defaults),
    ...resourcesOf(config, defaults),
    ...clusterOf(config, { defaults, identity }),
  };
  try {
    const built = new KubernetesConfigBuilder(names).with(given).build();
    return {
      ...built,
      limitRange: { ...built.limitRange, isEnabled: config.k8sLimitRangeEnabled },
    };
  } catch (cause) {
    if (!(cause instanceof HodeiError)) throw cause;
    const lines = cause.message.split("\n").map(withVariable);
    throw new HodeiError("invalid_argument", lines.join("\n"), { cause });
  }
}

/** Fields whose variable is not called like them. */
const variables: Readonly<Record<string, string>> = {
  image: "HODEI_WORKER_IMAGE",
  imagePullSecrets: "HODEI_K8S_IMAGE_PULL_SECRET",
  instance: "HODEI_K8S_INSTANCE_ID",
  securityContext: "HODEI_K8S_RUN_AS_USER",
  price: "HODEI_K8S_PRICE_PER_HOUR",
  "controlPlane.namespace": "HODEI_K8S_CONTROL_NAMESPACE",
  "controlPlane.serviceAccount": "HODEI_K8S_CONTROL_SERVICE_ACCOUNT",
  "controlPlane.service": "HODEI_K8S_CONTROL_SERVICE",
  "controlPlane.cidrs": "HODEI_K8S_SERVER_CIDRS",
  "networkPolicy.dnsCidrs": "HODEI_K8S_DNS_CIDRS",
};

/** `namespace: …` → `HODEI_K8S_NAMESPACE: …`. */
function withVariable(line: string): string {
  const [, field = "", problem = line] = /^([\w.]+)(?:\[\d+\]\S*)?: (.*)$/.exec(line) ?? [];
  const root = field.split(".")[0] ?? "";
  const known = variables[field] ?? variables[root];
  const own = variableName(`k8s${root.slice(0, 1).toUpperCase()}${root.slice(1)}`);
  return field === "" ? line : `${known ?? own}: ${problem}`;
}

function connectionOf(config: Config): Partial<KubernetesConfig> {
  return {
    kubeconfigPath: given(config.k8sKubeconfig),
    kubeconfigEnv: given(config.k8sKubeconfigFallback),
    context: given(config.k8sContext),
    allowInsecure: config.k8sAllowInsecure,
    requestTimeoutMs: config.k8sRequestTimeoutMs,
    watchIdleTimeoutMs: config.k8sWatchIdleTimeoutMs,
    maxConnections: config.k8sMaxConnections,
  };
}

function placeOf(config: Config, identity: ServerIdentity): Partial<KubernetesConfig> {
  const instance = given(config.k8sInstanceId) ?? identity.instance;
  return {
    ...(config.k8sNamespace !== "" && { namespace: config.k8sNamespace }),
    dynamicNamespaces: config.k8sEnableDynamicNamespaces,
    namespacePrefix: config.k8sNamespacePrefix,
    ...(instance !== undefined && { instance }),
    createInfrastructure: config.k8sCreateInfrastructure,
    bindWorkerRole: config.k8sBindWorkerRole,
    maxWorkers: config.k8sMaxWorkers,
    attestation: config.k8sAttestation,
    attestationAudience: config.k8sAttestationAudience,
    price: config.k8sPricePerHour,
    enableHpa: config.k8sEnableHpa,
  };
}

function podOf(config: Config, defaults: KubernetesConfig): Partial<KubernetesConfig> {
  const level = config.k8sPodSecurityStandard;
  return {
    ...(config.workerImage !== "" && { image: config.workerImage }),
    imagePullPolicy: pullPolicies[config.k8sImagePullPolicy],
    imagePullSecrets: config.k8sImagePullSecret,
    prePullImage: config.k8sPrePullImage,
    ...(config.k8sServiceAccount !== "" && { serviceAccount: config.k8sServiceAccount }),
    ...(level !== "default" && { podSecurityStandard: level }),
    securityContext: {
      runAsUser: config.k8sRunAsUser,
      runAsGroup: config.k8sRunAsUser,
      fsGroup: config.k8sRunAsUser,
      readOnlyRootFilesystem: config.k8sReadOnlyRoot,
    },
    baseLabels: { ...defaults.baseLabels, ...config.k8sBaseLabels },
    baseAnnotations: config.k8sBaseAnnotations,
    nodeSelector: config.k8sNodeSelector,
    tolerations: config.k8sTolerations,
    podAffinity: config.k8sPodAffinity,
    podAntiAffinity: config.k8sPodAntiAffinity,
    gpuNodeLabel: config.k8sGpuNodeLabel === "none" ? "" : config.k8sGpuNodeLabel,
    runtimeClassName: given(config.k8sRuntimeClass),
    priorityClassName: given(config.k8sPriorityClass),
    volumes: config.k8sVolumes,
    initContainers: structuredClone(config.k8sInitContainers),
    sidecars: structuredClone(config.k8sSidecars),
  };
}

const pullPolicies = {
  ifnotpresent: "IfNotPresent",
  always: "Always",
  never: "Never",
} as const;

function resourcesOf(config: Config, defaults: KubernetesConfig): Partial<KubernetesConfig> {
  const ttl = config.k8sTtlSecondsAfterFinished;
  const quantities = {
    defaultCpuRequest: config.k8sDefaultCpuRequest,
    defaultMemoryRequest: config.k8sDefaultMemoryRequest,
    defaultCpuLimit: config.k8sDefaultCpuLimit,
    defaultMemoryLimit: config.k8sDefaultMemoryLimit,
  };
  return {
    ...Object.fromEntries(Object.entries(quantities).filter(([, quantity]) => quantity !== "")),
    agentMemoryBytes: config.k8sAgentMemoryBytes,
    agentCpuMillis: config.k8sAgentCpuMillis,
    scratchBytes: config.k8sScratchBytes,
    ttlSecondsAfterFinished: ttl === "" ? defaults.ttlSecondsAfterFinished : ttl,
    creationTimeoutSeconds: config.k8sCreationTimeoutSeconds,
    terminationGraceSeconds: config.k8sTerminationGraceSeconds,
    maxLifetimeSeconds: config.k8sMaxLifetimeSeconds,
  };
}

function clusterOf(
  config: Config,
  {
    defaults,
    identity,
  }: { readonly defaults: KubernetesConfig; readonly identity: ServerIdentity },
): Partial<KubernetesConfig> {
  const hasQuota = config.k8sQuotaEnabled;
  const [first = defaults.controlPlane.agentPort, ...others] = agentPortsOf(config);
  return {
    controlPlane: {
      ...defaults.controlPlane,
      namespace: config.k8sControlNamespace,
      serviceAccount: config.k8sControlServiceAccount,
      service: config.k8sControlService,
      user: given(config.k8sControlUser),
      cidrs: config.k8sServerCidrs,
      agentPort: identity.agentPort ?? first,
      ...(others.length > 0 && { otherAgentPorts: others }),
    },
    hpa: { ...defaults.hpa, ...config.k8sHpa },
    quota: {
      isEnabled: hasQuota === "" ? defaults.quota.isEnabled : hasQuota,
      hard: Object.keys(config.k8sQuota).length > 0 ? config.k8sQuota : defaults.quota.hard,
    },
    networkPolicy: {
      ...defaults.networkPolicy,
      isEnabled: config.k8sNetworkPolicyEnabled,
      allowHttps: config.k8sAllowHttps,
      dnsNamespaces: config.k8sDnsNamespaces,
      dnsCidrs: config.k8sDnsCidrs,
    },
  };
}

/** The ports that agents dial: those of the addresses they are told, else that of their own listener, else that of everybody's. */
function agentPortsOf(config: Config): readonly number[] {
  const portsIn = (text: string): number[] =>
    text.split(",").map((address) => Number(/:(\d+)\s*$/.exec(address)?.[1] ?? 0));
  const dialled = [...new Set(portsIn(config.serverAddress))].filter((port) => port > 0);
  if (dialled.length > 0) return dialled;
  return [config.agentPort, ...portsIn(config.listenAddress)]
    .filter((port) => port > 0)
    .slice(0, 1);
}

function given(value: string): string | undefined {
  return value === "" ? undefined : value;
}
