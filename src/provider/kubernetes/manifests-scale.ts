import type {
  V1PodDisruptionBudget,
  V1TopologySpreadConstraint,
  V2HorizontalPodAutoscaler,
} from "@kubernetes/client-node";
import type { KubernetesConfig } from "./config.ts";
import { serverMetadata } from "./manifests-names.ts";
import { keys } from "./names.ts";
import type { Plain } from "./pod-security.ts";

/** Servers on nodes and in zones apart from each other, where there are as many; those of one rollout among themselves. */
export function spread({ controlPlane }: KubernetesConfig): Plain<V1TopologySpreadConstraint>[] {
  return ["kubernetes.io/hostname", "topology.kubernetes.io/zone"].map((topologyKey) => ({
    maxSkew: 1,
    topologyKey,
    whenUnsatisfiable: "ScheduleAnyway",
    labelSelector: { matchLabels: { ...controlPlane.podLabels } },
    matchLabelKeys: ["pod-template-hash"],
  }));
}

/** One pod at a time may go: with a single replica a drain of its node is not held up. */
export function disruptionBudget(config: KubernetesConfig): Plain<V1PodDisruptionBudget> {
  const { service: name, podLabels } = config.controlPlane;
  return {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: serverMetadata(config, name),
    spec: { maxUnavailable: 1, selector: { matchLabels: { ...podLabels } } },
  };
}

/** As many servers as their load asks for. */
export function autoscaler(config: KubernetesConfig): Plain<V2HorizontalPodAutoscaler> {
  const { hpa, controlPlane } = config;
  const target = { apiVersion: "apps/v1", kind: "Deployment", name: controlPlane.service };
  const use = (name: string, averageUtilization: number) => ({
    type: "Resource",
    resource: { name, target: { type: "Utilization", averageUtilization } },
  });
  const meta = serverMetadata(config, `hpa-${controlPlane.service}`);
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
