import { collectDefaultMetrics, Registry } from "prom-client";
import { type CallMetrics, countCalls } from "./metrics-calls.ts";
import { countJobs, type JobMetrics } from "./metrics-jobs.ts";
import { countClusters, type KubernetesMetrics } from "./metrics-kubernetes.ts";
import { countProviders, type ProviderMetrics } from "./metrics-providers.ts";
import { type Source, StateGauges } from "./metrics-state.ts";
import { countWorkers, type WorkerMetrics } from "./metrics-workers.ts";

// Apart from telemetry.ts, so that the agent's bundle carries a logger and no registry. Labels have few values and never name a job, a tenant or a worker.

/** What a server counts. One per server. */
export interface Metrics
  extends JobMetrics, WorkerMetrics, ProviderMetrics, CallMetrics, KubernetesMetrics {
  /** Asks how things stand whenever metrics are read; a source that rejects leaves its gauges out. Gives what ends that. */
  observe(source: Source): () => void;
  read(): Promise<{ readonly type: string; readonly text: string }>;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const state = new StateGauges(registry);
  return {
    ...countJobs(registry),
    ...countWorkers(registry),
    ...countProviders(registry),
    ...countCalls(registry),
    ...countClusters(registry),
    observe: (source) => state.add(source),
    async read() {
      await state.refresh();
      return { type: registry.contentType, text: await registry.metrics() };
    },
  };
}
