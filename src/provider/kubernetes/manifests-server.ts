import type {
  KubernetesObject,
  V1Container,
  V1Deployment,
  V1EnvVar,
  V1PersistentVolumeClaim,
  V1PodSpec,
  V1Service,
  V1Volume,
} from "@kubernetes/client-node";
import { HodeiError } from "#error.ts";
import type { KubernetesConfig } from "./config.ts";
import { httpPort, serverMetadata, serverNames, systemLabels } from "./manifests-names.ts";
import { autoscaler, disruptionBudget, spread } from "./manifests-scale.ts";
import type { Plain } from "./pod-security.ts";

/** Where the server keeps its state: in one file on its volume, or in a Redis that replicas share. */
export type ServerStore = "embedded" | "redis";

export interface ServerOptions {
  readonly config: KubernetesConfig;
  readonly image: string;
  readonly store: ServerStore;
  /** How many servers share the store, where nothing scales them; `defaultReplicas` of the store unless given. */
  readonly replicas?: number;
  /** Whether logs are archived to a bucket; the key comes from a Secret, where there is one. */
  readonly archivesToS3: boolean;
  /** Changes with the configuration, so that a new one rolls out. */
  readonly configHash: string;
}

/** Of servers over a shared store there are two, so that one may go at any time. */
export const defaultReplicas: Readonly<Record<ServerStore, number>> = { embedded: 1, redis: 2 };

const dataDirectory = "/var/lib/hodei";
const tokenDirectory = "/etc/hodei/admin";
const keyDirectory = "/etc/hodei/encryption";

/** Everything that the server's own pod needs. Error: `invalid_argument` for several replicas over an embedded store. */
export function serverObjects(options: ServerOptions): readonly KubernetesObject[] {
  const { config, store, replicas = defaultReplicas[store] } = options;
  if (replicas < 1 || replicas > 100) {
    throw new HodeiError("invalid_argument", `--replicas: ${replicas} is not between 1 and 100`);
  }
  if (options.replicas !== undefined && config.enableHpa && store === "redis") {
    throw new HodeiError("invalid_argument", "--replicas and --hpa exclude each other", {
      hint: "HODEI_K8S_HPA bounds the autoscaler",
    });
  }
  if (store === "embedded" && (config.enableHpa || replicas !== 1)) {
    const asked = config.enableHpa ? "--hpa" : "--replicas";
    throw new HodeiError(
      "invalid_argument",
      "an embedded store has one server, which cannot be scaled",
      { hint: `use --store redis with ${asked}, or leave ${asked} out` },
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

function claim(config: KubernetesConfig): Plain<V1PersistentVolumeClaim> {
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: serverMetadata(config, serverNames.claim),
    spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "10Gi" } } },
  };
}

function service(config: KubernetesConfig): Plain<V1Service> {
  const { service: name, agentPort, podLabels } = config.controlPlane;
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: serverMetadata(config, name),
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
  const { config, store, configHash, replicas = defaultReplicas[store] } = options;
  const { service: name, podLabels } = config.controlPlane;
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: serverMetadata(config, name),
    spec: {
      ...(config.enableHpa ? {} : { replicas }),
      revisionHistoryLimit: 3,
      strategy:
        store === "embedded"
          ? // Two servers never share a volume.
            { type: "Recreate" }
          : // A new one is ready before an old one goes.
            { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
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
  if (store === "redis") {
    const secret = { secretName: serverNames.encryptionKey, defaultMode: 0o440 };
    volumes.push({ name: "encryption-key", secret });
  }
  return {
    serviceAccountName: config.controlPlane.serviceAccount,
    automountServiceAccountToken: true,
    // They would look like settings: HODEI_SERVER_PORT and its like.
    enableServiceLinks: false,
    // Longer than a server takes that has been told to stop: it drains by itself.
    terminationGracePeriodSeconds: 45,
    ...(store === "redis" && { topologySpreadConstraints: spread(config) }),
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

function container({ config, image, store, archivesToS3 }: ServerOptions): Plain<V1Container> {
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
    env: [...environment(config, store), ...(archivesToS3 ? bucketKey() : [])],
    resources: { requests: { cpu: "100m", memory: "512Mi" }, limits: { memory: "1Gi" } },
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
      ...(store === "redis"
        ? [{ name: "encryption-key", mountPath: keyDirectory, readOnly: true }]
        : []),
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
    // What one server has sealed the others can open.
    {
      name: "HODEI_ENCRYPTION_KEY_FILE",
      value: `${keyDirectory}/${serverNames.encryptionKeyKey}`,
    },
  ];
}

/** Without the Secret the pod's own role is used. */
function bucketKey(): Plain<V1EnvVar>[] {
  const of = (key: string) => ({ secretKeyRef: { name: serverNames.s3, key, optional: true } });
  return [
    { name: "HODEI_S3_ACCESS_KEY_ID", valueFrom: of(serverNames.s3KeyId) },
    { name: "HODEI_S3_SECRET_ACCESS_KEY", valueFrom: of(serverNames.s3Secret) },
  ];
}
