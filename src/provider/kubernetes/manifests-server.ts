import type {
  KubernetesObject,
  V1Container,
  V1Deployment,
  V1EnvVar,
  V1PersistentVolumeClaim,
  V1PodDisruptionBudget,
  V1PodSpec,
  V1Service,
  V1Volume,
  V2HorizontalPodAutoscaler,
} from "@kubernetes/client-node";
import { HodeiError } from "#error.ts";
import type { KubernetesConfig } from "./config.ts";
import { keys } from "./names.ts";
import { httpPort, serverNames, systemLabels } from "./manifests-names.ts";
import type { Plain } from "./pod-security.ts";

/** Where the server keeps its state: in one file on its volume, or in a Redis that replicas share. */
export type ServerStore = "embedded" | "redis";

export interface ServerOptions {
  readonly config: KubernetesConfig;
  readonly image: string;
  readonly store: ServerStore;
  /** Changes with the configuration, so that a new one rolls out. */
  readonly configHash: string;
}

const dataDirectory = "/var/lib/hodei";
const tokenDirectory = "/etc/hodei/admin";

/** Everything that the server's own pod needs. Error: `invalid_argument` for several replicas over an embedded store. */
export function serverObjects(options: ServerOptions): readonly KubernetesObject[] {
  const { config, store } = options;
  if (config.enableHpa && store === "embedded") {
    throw new HodeiError(
      "invalid_argument",
      "an embedded store has one server, which cannot be scaled",
      { hint: "use --store redis with --hpa, or leave --hpa out" },
    );
  }
  return [
    ...(store === "embedded" ? [claim(config)] : []),
    service(config),
    deployment(options),
    disruptionBudget(config),
    ...(config.enableHpa ? [autoscaler(config)] : []),
  ];
}

function metadata({ controlPlane }: KubernetesConfig, name: string) {
  const { namespace, podLabels } = controlPlane;
  return { name, namespace, labels: { ...systemLabels, ...podLabels } };
}

function claim(config: KubernetesConfig): Plain<V1PersistentVolumeClaim> {
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: metadata(config, serverNames.claim),
    spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "10Gi" } } },
  };
}

function service(config: KubernetesConfig): Plain<V1Service> {
  const { service: name, agentPort, podLabels } = config.controlPlane;
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: metadata(config, name),
    spec: {
      selector: { ...podLabels },
      ports: [
        { name: "grpc", port: agentPort, targetPort: "grpc" },
        { name: "http", port: httpPort, targetPort: "http" },
      ],
    },
  };
}

function deployment(options: ServerOptions): Plain<V1Deployment> {
  const { config, store, configHash } = options;
  const { service: name, podLabels } = config.controlPlane;
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: metadata(config, name),
    spec: {
      ...(config.enableHpa ? {} : { replicas: 1 }),
      revisionHistoryLimit: 3,
      // Two servers never share a volume.
      strategy: { type: store === "embedded" ? "Recreate" : "RollingUpdate" },
      selector: { matchLabels: { ...podLabels } },
      template: {
        metadata: {
          labels: { ...systemLabels, ...podLabels },
          annotations: { "hodei.io/config": configHash },
        },
        spec: podSpec(options),
      },
    },
  };
}

function podSpec(options: ServerOptions): Plain<V1PodSpec> {
  const { config, store } = options;
  const volumes: Plain<V1Volume>[] = [
    store === "embedded"
      ? { name: "data", persistentVolumeClaim: { claimName: serverNames.claim } }
      : { name: "data", emptyDir: {} },
    { name: "tmp", emptyDir: {} },
    { name: "admin-token", secret: { secretName: serverNames.adminToken, defaultMode: 0o440 } },
  ];
  return {
    serviceAccountName: config.controlPlane.serviceAccount,
    automountServiceAccountToken: true,
    // They would look like settings: HODEI_SERVER_PORT and its like.
    enableServiceLinks: false,
    terminationGracePeriodSeconds: 45,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: 1_000,
      runAsGroup: 1_000,
      fsGroup: 1_000,
      fsGroupChangePolicy: "OnRootMismatch",
      seccompProfile: { type: "RuntimeDefault" },
    },
    containers: [container(options)],
    volumes,
  };
}

function container({ config, image, store }: ServerOptions): Plain<V1Container> {
  const { agentPort } = config.controlPlane;
  const probe = (path: string) => ({ httpGet: { path: `/health/${path}`, port: "http" } });
  return {
    name: "server",
    image,
    imagePullPolicy: "IfNotPresent",
    ports: [
      { name: "grpc", containerPort: agentPort },
      { name: "http", containerPort: httpPort },
    ],
    envFrom: [{ configMapRef: { name: serverNames.config } }],
    env: environment(config, store),
    resources: { requests: { cpu: "100m", memory: "256Mi" }, limits: { memory: "1Gi" } },
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    },
    startupProbe: { ...probe("startup"), periodSeconds: 2, failureThreshold: 90 },
    readinessProbe: { ...probe("ready"), periodSeconds: 5, timeoutSeconds: 3 },
    livenessProbe: { ...probe("live"), periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
    volumeMounts: [
      { name: "data", mountPath: dataDirectory },
      { name: "tmp", mountPath: "/tmp" },
      { name: "admin-token", mountPath: tokenDirectory, readOnly: true },
    ],
  };
}

function environment({ controlPlane }: KubernetesConfig, store: ServerStore): Plain<V1EnvVar>[] {
  const { service: name, namespace, agentPort } = controlPlane;
  const values = {
    HODEI_LISTEN_ADDRESS: `0.0.0.0:${agentPort}`,
    HODEI_HTTP_ADDRESS: `0.0.0.0:${httpPort}`,
    // The full name: a short one does not resolve from the namespaces of workers.
    HODEI_SERVER_ADDRESS: `${name}.${namespace}.svc:${agentPort}`,
    HODEI_DATA_DIRECTORY: dataDirectory,
    HODEI_TLS_AUTO: "1",
    HODEI_ADMIN_TOKEN_FILE: `${tokenDirectory}/${serverNames.adminTokenKey}`,
    HODEI_PROCESS_ENABLED: "0",
  };
  const fixed = Object.entries(values).map(([key, value]) => ({ name: key, value }));
  if (store === "embedded") return fixed;
  const secretKeyRef = { name: serverNames.redis, key: serverNames.redisKey };
  return [
    ...fixed,
    { name: "HODEI_STORE", value: "redis" },
    { name: "HODEI_REDIS_URL", valueFrom: { secretKeyRef } },
  ];
}

/** One pod at a time may go: with a single replica a drain of its node is not held up. */
function disruptionBudget(config: KubernetesConfig): Plain<V1PodDisruptionBudget> {
  const { service: name, podLabels } = config.controlPlane;
  return {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: metadata(config, name),
    spec: { maxUnavailable: 1, selector: { matchLabels: { ...podLabels } } },
  };
}

function autoscaler(config: KubernetesConfig): Plain<V2HorizontalPodAutoscaler> {
  const { hpa, controlPlane } = config;
  const target = { apiVersion: "apps/v1", kind: "Deployment", name: controlPlane.service };
  const use = (name: string, averageUtilization: number) => ({
    type: "Resource",
    resource: { name, target: { type: "Utilization", averageUtilization } },
  });
  const meta = metadata(config, `hpa-${controlPlane.service}`);
  return {
    apiVersion: "autoscaling/v2",
    kind: "HorizontalPodAutoscaler",
    metadata: {
      ...meta,
      labels: { ...meta.labels, [keys.managed]: "true", "hodei.io/hpa": "true" },
    },
    spec: {
      scaleTargetRef: target,
      minReplicas: hpa.minReplicas,
      maxReplicas: hpa.maxReplicas,
      metrics: [use("cpu", hpa.cpuPercent), use("memory", hpa.memoryPercent)],
      behavior: {
        scaleUp: {
          stabilizationWindowSeconds: hpa.scaleUpWindowSeconds,
          selectPolicy: "Max",
          policies: [{ type: "Percent", value: 100, periodSeconds: 15 }],
        },
        scaleDown: {
          stabilizationWindowSeconds: hpa.scaleDownWindowSeconds,
          selectPolicy: "Min",
          policies: [{ type: "Percent", value: 10, periodSeconds: 60 }],
        },
      },
    },
  };
}
