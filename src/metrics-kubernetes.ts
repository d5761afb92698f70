import type { Registry } from "prom-client";
import { callBuckets, counter, histogram } from "./metrics-parts.ts";

export interface KubernetesMetrics {
  /** An API server has answered a call of a provider, or has not. */
  clusterCalled(provider: string, call: ClusterCall): void;
  /** The pod of a worker is not there any more. */
  podGone(provider: string): void;
}

export interface ClusterCall {
  readonly method: string;
  /** `pods`, `secrets`; never a name. */
  readonly resource: string;
  /** Zero: no answer. */
  readonly status: number;
  readonly seconds: number;
}

export function countClusters(registry: Registry): KubernetesMetrics {
  const labels = ["provider", "method", "resource"] as const;
  const requests = counter(registry, "hodei_kubernetes_api_requests_total", {
    help: "Calls of the API servers of clusters, each try for itself, watches left out.",
    labels,
  });
  const errors = counter(registry, "hodei_kubernetes_api_request_errors_total", {
    help: "Calls of the API servers of clusters that were refused or not answered, by status; 0: no answer.",
    labels: [...labels, "status"],
  });
  const byProvider = { labels: ["provider"] } as const;
  const created = counter(registry, "hodei_kubernetes_workers_created_total", {
    help: "Pods of workers that an API server has created.",
    ...byProvider,
  });
  const deleted = counter(registry, "hodei_kubernetes_workers_deleted_total", {
    help: "Pods of workers that were there and are gone.",
    ...byProvider,
  });
  const refused = counter(registry, "hodei_kubernetes_pod_creation_errors_total", {
    help: "Pods of workers that an API server has refused to create or did not answer for, by status; 0: no answer.",
    labels: ["provider", "status"],
  });
  const creation = histogram(registry, "hodei_kubernetes_pod_creation_duration_seconds", {
    help: "How long an API server took to create the pod of a worker.",
    ...byProvider,
    buckets: callBuckets,
  });
  return {
    podGone: (provider) => deleted.inc({ provider }),
    clusterCalled(provider, { method, resource, status, seconds }) {
      requests.inc({ provider, method, resource });
      const isDone = status >= 200 && status < 300;
      const code = String(status);
      if (!isDone) errors.inc({ provider, method, resource, status: code });
      if (resource !== "pods" || method !== "POST") return;
      if (!isDone) {
        refused.inc({ provider, status: code });
        return;
      }
      created.inc({ provider });
      creation.observe({ provider }, seconds);
    },
  };
}
