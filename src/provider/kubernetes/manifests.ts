import { createHash } from "node:crypto";
import type { KubernetesObject, V1ConfigMap, V1Namespace } from "@kubernetes/client-node";
import { stringify } from "yaml";
import type { KubernetesConfig } from "./config.ts";
import { infrastructureObjects } from "./infrastructure.ts";
import { accessObjects } from "./manifests-access.ts";
import { monitoringObjects } from "./manifests-monitoring.ts";
import { httpPort, serverNames, systemLabels } from "./manifests-names.ts";
import { serverObjects, type ServerStore } from "./manifests-server.ts";
import type { Plain } from "./pod-security.ts";

/** In the order in which they are applied. */
export const manifestGroups = [
  "namespace",
  "rbac",
  "network-policy",
  "configmap",
  "server",
  "monitoring",
] as const;

export type ManifestGroup = (typeof manifestGroups)[number];

export interface ManifestOptions {
  readonly config: KubernetesConfig;
  readonly serverImage: string;
  readonly store: ServerStore;
  /** Of the server; `defaultReplicas` of the store unless given. */
  readonly replicas?: number;
  /** Further variables of the server, by name. */
  readonly settings?: Readonly<Record<string, string>>;
}

export const defaultServerImage = "hodei-jobs-server:latest";

/** Everything that a control plane in the cluster and its first worker namespace consist of. Pure. Error: `invalid_argument` for what cannot work together. */
export function manifestObjects(
  options: ManifestOptions,
): Readonly<Record<ManifestGroup, readonly KubernetesObject[]>> {
  const { config, serverImage: image, store, replicas, settings = {} } = options;
  const workers = infrastructureObjects(config, config.namespace);
  const rights = ["ServiceAccount", "Role", "RoleBinding"];
  const ofKind = (kinds: readonly string[]): KubernetesObject[] =>
    workers.filter(({ kind }) => kinds.includes(kind));
  const map = configMap(config, settings);
  const configHash = createHash("sha256").update(JSON.stringify(map.data)).digest("hex");
  return {
    namespace: [
      systemNamespace(config),
      ...workers.filter(({ kind }) => ![...rights, "NetworkPolicy"].includes(kind)),
    ],
    rbac: [...accessObjects(config), ...ofKind(rights)],
    "network-policy": [serverPolicy(options), ...ofKind(["NetworkPolicy"])],
    configmap: [map],
    server: serverObjects({
      config,
      image,
      store,
      ...(replicas !== undefined && { replicas }),
      archivesToS3: settings["HODEI_LOG_ARCHIVE"] === "s3",
      configHash: configHash.slice(0, 16),
    }),
    monitoring: monitoringObjects(config),
  };
}

/** The same as YAML, these groups of them. */
export function printManifests(
  options: ManifestOptions,
  groups: readonly ManifestGroup[] = manifestGroups,
): string {
  const objects = manifestObjects(options);
  const documents = groups
    .flatMap((group) => objects[group])
    .map((object) => stringify(object, { aliasDuplicateObjects: false, lineWidth: 0 }));
  return `# Printed by \`hodei manifests\`.\n${documents.join("---\n")}`;
}

function systemNamespace({ controlPlane }: KubernetesConfig): Plain<V1Namespace> {
  const level = "restricted";
  return {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: {
      name: controlPlane.namespace,
      labels: {
        ...systemLabels,
        // How policies of earlier deployments find the server.
        name: "hodei-server",
        "pod-security.kubernetes.io/enforce": level,
        "pod-security.kubernetes.io/audit": level,
        "pod-security.kubernetes.io/warn": level,
      },
    },
  };
}

/** What the server reads of its provider; the variables that are not here have their defaults. */
function configMap(config: KubernetesConfig, settings: Readonly<Record<string, string>>) {
  const { controlPlane, imagePullSecrets } = config;
  const data: Record<string, string> = {
    ...settings,
    HODEI_K8S_ENABLED: "1",
    HODEI_K8S_NAMES_PROFILE: config.names,
    HODEI_K8S_NAMESPACE: config.namespace,
    HODEI_K8S_CONTROL_NAMESPACE: controlPlane.namespace,
    HODEI_K8S_ENABLE_DYNAMIC_NAMESPACES: String(config.dynamicNamespaces),
    HODEI_K8S_NAMESPACE_PREFIX: config.namespacePrefix,
    HODEI_K8S_MAX_WORKERS: String(config.maxWorkers),
    HODEI_K8S_SERVICE_ACCOUNT: config.serviceAccount,
    HODEI_K8S_DEFAULT_CPU_REQUEST: config.defaultCpuRequest,
    HODEI_K8S_DEFAULT_MEMORY_REQUEST: config.defaultMemoryRequest,
    HODEI_K8S_DEFAULT_CPU_LIMIT: config.defaultCpuLimit,
    HODEI_K8S_DEFAULT_MEMORY_LIMIT: config.defaultMemoryLimit,
    HODEI_K8S_POD_SECURITY_STANDARD: config.podSecurityStandard,
    HODEI_WORKER_IMAGE: config.image,
  };
  if (imagePullSecrets.length > 0) {
    data["HODEI_K8S_IMAGE_PULL_SECRET"] = imagePullSecrets.join(",");
  }
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: {
      name: serverNames.config,
      namespace: controlPlane.namespace,
      labels: { ...systemLabels },
    },
    data,
  } satisfies Plain<V1ConfigMap>;
}

/** Who may talk to the server, and whom it calls: DNS, the cluster's API, its Redis (or Sentinel) and its bucket, if it has them. */
function serverPolicy({ config, store, settings = {} }: ManifestOptions) {
  const { namespace, service, podLabels, agentPort } = config.controlPlane;
  const tcp = (...ports: number[]) => ports.map((port) => ({ protocol: "TCP", port }));
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: service, namespace, labels: { ...systemLabels } },
    spec: {
      podSelector: { matchLabels: { ...podLabels } },
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        // Agents and clients, from wherever: they have to prove who they are.
        { ports: tcp(agentPort) },
        // Metrics and health, from within the cluster.
        { from: [{ namespaceSelector: {} }], ports: tcp(httpPort) },
      ],
      egress: [
        { ports: [{ protocol: "UDP", port: 53 }, ...tcp(53)] },
        { ports: tcp(443, 6443) },
        ...(store === "redis" ? [{ ports: tcp(6379, 26379) }] : []),
        ...bucketPorts(settings).map((port) => ({ ports: tcp(port) })),
      ],
    },
  };
}

/** The one of an S3-compatible server, where that is not 443. */
function bucketPorts(settings: Readonly<Record<string, string>>): number[] {
  const endpoint = settings["HODEI_S3_ENDPOINT"];
  if (settings["HODEI_LOG_ARCHIVE"] !== "s3" || endpoint === undefined) return [];
  const { port, protocol } = new URL(endpoint);
  const number = port === "" ? (protocol === "http:" ? 80 : 443) : Number(port);
  return number === 443 ? [] : [number];
}
