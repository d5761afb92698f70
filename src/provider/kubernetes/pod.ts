import type {
  V1Affinity,
  V1Container,
  V1ObjectMeta,
  V1Pod,
  V1PodSpec,
  V1Toleration,
} from "@kubernetes/client-node";
import { annotationProblem, labelProblem } from "#job/label.ts";
import type { WorkerSpec } from "#provider/provider.ts";
import type { KubernetesConfig, PodAffinity } from "./config.ts";
import { gpuRequestOf, type GpuRequest } from "./gpu.ts";
import { keys, managedLabels, type Ownership, podNameOf } from "./names.ts";
import { workerContainerOf } from "./pod-container.ts";
import { hardenContainer, type Plain, podSecurityOf } from "./pod-security.ts";
import { type Mounted, volumesOf } from "./pod-volumes.ts";

/** What a worker's pod depends on beside its spec. */
export interface PodPlace extends Pick<Ownership, "instanceId" | "provider"> {
  readonly namespace: string;
  /** What every agent is given beside its own settings. */
  readonly env: Readonly<Record<string, string>>;
}

/** The worker's pod: a bare one that runs once, ends by itself, and holds nothing that it does not need. */
export function buildPod(config: KubernetesConfig, spec: WorkerSpec, place: PodPlace): V1Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: metadataOf(config, spec, place),
    spec: podSpecOf(config, spec, place),
  };
}

/** The value of the label `app`, by which policies select workers. */
export function appOf(config: Pick<KubernetesConfig, "baseLabels">): string {
  return config.baseLabels[keys.app] ?? "hodei-jobs-worker";
}

/** Service meshes would hold back the agent's connection, and keep the pod from ending. */
const meshLabels = { "sidecar.istio.io/inject": "false" };
const meshAnnotations = {
  "sidecar.istio.io/inject": "false",
  "linkerd.io/inject": "disabled",
};
/** An autoscaler that moves a worker to save a node would end its job. */
const safeToEvict = "cluster-autoscaler.kubernetes.io/safe-to-evict";

function metadataOf(config: KubernetesConfig, spec: WorkerSpec, place: PodPlace): V1ObjectMeta {
  const owner = { ...place, app: appOf(config) };
  const worker = { id: spec.workerId, tenant: spec.tenant };
  return {
    name: podNameOf(spec.workerId),
    namespace: place.namespace,
    // Whatever comes later wins: selectors, policies and the reaper rely on it.
    labels: {
      ...usersLabels(spec.labels),
      ...config.baseLabels,
      ...meshLabels,
      ...managedLabels(owner, worker),
    },
    annotations: {
      ...usersAnnotations(spec.annotations),
      [safeToEvict]: "false",
      ...config.baseAnnotations,
      ...meshAnnotations,
      [keys.providerId]: place.provider,
      [keys.ttlAfterFinished]: String(config.ttlSecondsAfterFinished),
    },
  };
}

function usersLabels(labels: WorkerSpec["labels"]): Record<string, string> {
  const entries = Object.entries(labels);
  return Object.fromEntries(entries.filter(([key, value]) => !labelProblem(key, value)));
}

function usersAnnotations(annotations: WorkerSpec["annotations"]): Record<string, string> {
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => !annotationProblem(key)));
}

function podSpecOf(config: KubernetesConfig, spec: WorkerSpec, place: PodPlace): V1PodSpec {
  const mounted = volumesOf(config, spec, place.instanceId);
  const { gpuCount, gpuType } = spec.workerClass.resources;
  const gpu = gpuRequestOf(gpuCount, gpuType);
  const init = initContainersOf(config, mounted);
  const nodeSelector = nodeSelectorOf(config, gpu);
  const tolerations = tolerationsOf(config, gpu);
  const affinity = affinityOf(config);
  return {
    restartPolicy: "Never",
    serviceAccountName: config.serviceAccount,
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: config.terminationGraceSeconds,
    activeDeadlineSeconds: deadlineOf(config, spec),
    securityContext: podSecurityOf(config),
    ...(init.length === 0 ? {} : { initContainers: init }),
    containers: [workerContainerOf(config, spec, { mounted, env: place.env })],
    volumes: mounted.volumes,
    ...(config.imagePullSecrets.length === 0
      ? {}
      : { imagePullSecrets: config.imagePullSecrets.map((name) => ({ name })) }),
    ...(Object.keys(nodeSelector).length === 0 ? {} : { nodeSelector }),
    ...(tolerations.length === 0 ? {} : { tolerations }),
    ...(affinity === undefined ? {} : { affinity }),
    ...(config.runtimeClassName === undefined ? {} : { runtimeClassName: config.runtimeClassName }),
    ...(config.priorityClassName === undefined
      ? {}
      : { priorityClassName: config.priorityClassName }),
  };
}

/** The dead-man switch: the cluster ends the pod after this long, whatever became of the server (DESIGN G12). */
function deadlineOf(config: KubernetesConfig, { maxLifetimeMs }: WorkerSpec): number {
  if (maxLifetimeMs === undefined) return config.maxLifetimeSeconds;
  return Math.max(1, Math.ceil(maxLifetimeMs / 1000)) + config.terminationGraceSeconds;
}

/** Init containers first; then sidecars, which live as long as the worker and are ended after it. */
function initContainersOf(config: KubernetesConfig, mounted: Mounted): V1Container[] {
  const init: readonly Plain<V1Container>[] = config.initContainers;
  const sidecars: readonly Plain<V1Container>[] = config.sidecars;
  return [...init, ...sidecars.map((sidecar) => ({ ...sidecar, restartPolicy: "Always" }))].map(
    (container) => {
      const own = container.volumeMounts ?? [];
      const missing = mounted.scratch.filter(
        ({ mountPath }) => !own.some((mount) => mount.mountPath === mountPath),
      );
      return hardenContainer(
        {
          imagePullPolicy: config.imagePullPolicy,
          ...container,
          volumeMounts: [...own, ...missing],
        },
        config,
      );
    },
  );
}

function nodeSelectorOf(
  config: KubernetesConfig,
  gpu: GpuRequest | undefined,
): Record<string, string> {
  const isModelWanted = gpu !== undefined && gpu.model !== "" && config.gpuNodeLabel !== "";
  return {
    ...config.nodeSelector,
    ...(isModelWanted ? { [config.gpuNodeLabel]: gpu.model } : {}),
  };
}

/** Nodes with GPUs are tainted with the name of their resource, so that nothing else takes them. */
function tolerationsOf(config: KubernetesConfig, gpu: GpuRequest | undefined): V1Toleration[] {
  if (gpu === undefined) return [...config.tolerations];
  return [...config.tolerations, { key: gpu.resource, operator: "Exists", effect: "NoSchedule" }];
}

function affinityOf(config: KubernetesConfig): V1Affinity | undefined {
  const { podAffinity: near, podAntiAffinity: apart } = config;
  if (near.length === 0 && apart.length === 0) return undefined;
  return {
    ...(near.length === 0 ? {} : { podAffinity: preferredOf(near) }),
    ...(apart.length === 0 ? {} : { podAntiAffinity: preferredOf(apart) }),
  };
}

function preferredOf(terms: readonly PodAffinity[]) {
  return {
    preferredDuringSchedulingIgnoredDuringExecution: terms.map(
      ({ labels, topologyKey, weight }) => ({
        weight,
        podAffinityTerm: { labelSelector: { matchLabels: { ...labels } }, topologyKey },
      }),
    ),
  };
}
