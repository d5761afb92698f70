import { X509Certificate } from "node:crypto";
import { readFile, statfs } from "node:fs/promises";
import type { LogStore } from "#logstore/logstore.ts";
import type { Reading, StateGauge } from "#metrics-state.ts";
import type { Metrics } from "#metrics.ts";
import type { PodTally } from "#provider/kubernetes/pod-tally.ts";
import type { TlsFiles } from "#rpc/listen.ts";
import type { ProviderStatus, Scheduler } from "#scheduler/scheduler.ts";
import type { Store } from "#store/store.ts";
import { parseClassKey } from "#worker/class.ts";
import { type Worker, workerStates } from "#worker/worker.ts";

export interface GaugeGround {
  readonly store: Pick<Store, "readDemand" | "listLiveWorkers">;
  readonly logs: Pick<LogStore, "stats">;
  readonly scheduler: Pick<Scheduler, "attempts" | "listProviders" | "isLeading" | "replicas">;
  readonly metrics: Pick<Metrics, "observe">;
  /** Where the data is. */
  readonly directory: string;
  readonly tls: TlsFiles | undefined;
  readonly isReady: () => boolean;
}

/** Shows how things stand whenever metrics are read. */
export function showState(ground: GaugeGround): void {
  const { metrics, store, logs, scheduler, directory, tls, isReady } = ground;
  metrics.observe(async () => [value("hodei_server_ready", isReady() ? 1 : 0)]);
  metrics.observe(async () => {
    const { replicas, isLeading } = scheduler;
    const leading = value("hodei_replica_leading", isLeading ? 1 : 0);
    return replicas.length === 0 ? [leading] : [leading, value("hodei_replicas", replicas.length)];
  });
  metrics.observe(async () => readQueue(store));
  metrics.observe(async () => {
    const [workers, providers] = await Promise.all([
      store.listLiveWorkers(),
      scheduler.listProviders(),
    ]);
    const isConnected = ({ id }: Worker): boolean => scheduler.attempts.isConnected(id);
    return [...readWorkers(workers, isConnected), ...readProviders(workers, providers)];
  });
  metrics.observe(async () => {
    const { openLogs, storedBytes, isWritable, archive } = logs.stats();
    const archived =
      archive === undefined
        ? []
        : [
            value("hodei_log_archive_stored_bytes", archive.storedBytes),
            value("hodei_log_archive_waiting_bytes", archive.waitingBytes),
            value("hodei_log_archive_reachable", archive.isReachable ? 1 : 0),
          ];
    return [
      ...archived,
      value("hodei_logs_open", openLogs),
      value("hodei_log_stored_bytes", storedBytes),
      value("hodei_log_store_writable", isWritable ? 1 : 0),
    ];
  });
  metrics.observe(async () => {
    const { bavail, blocks, bsize } = await statfs(directory);
    return [
      value("hodei_disk_free_bytes", bavail * bsize),
      value("hodei_disk_size_bytes", blocks * bsize),
    ];
  });
  if (tls === undefined) return;
  metrics.observe(async () => {
    const { validTo } = new X509Certificate(await readFile(tls.certFile));
    return [value("hodei_cert_expires_timestamp_seconds", Date.parse(validTo) / 1_000)];
  });
}

async function readQueue(store: Pick<Store, "readDemand">): Promise<readonly Reading[]> {
  const now = Date.now();
  const demand = await store.readDemand(now);
  const ready = demand.filter(({ queued }) => queued > 0);
  const oldestAt = Math.min(now, ...ready.map((kind) => kind.oldestAt));
  return [
    value("hodei_queue_depth", sum(demand.map(({ queued }) => queued))),
    value("hodei_queue_waiting", sum(demand.map(({ waiting }) => waiting))),
    value("hodei_queue_oldest_seconds", (now - oldestAt) / 1_000),
  ];
}

function readWorkers(
  workers: readonly Worker[],
  isConnected: (worker: Worker) => boolean,
): readonly Reading[] {
  const active = workers.filter(({ jobs }) => jobs.length > 0);
  const idle = workers.filter(({ state, jobs }) => state === "ready" && jobs.length === 0);
  const states = workerStates.filter((state) => state !== "ended");
  return [
    value("hodei_jobs_running", sum(active.map(({ jobs }) => jobs.length))),
    value("hodei_workers_active", active.length),
    value("hodei_workers_idle", idle.length),
    value("hodei_workers_connected", workers.filter(isConnected).length),
    ...states.map((state) => {
      const count = workers.filter((worker) => worker.state === state).length;
      return value("hodei_workers_by_state", count, { state });
    }),
  ];
}

/** Of the providers that there are; a worker of another one is among the workers by state all the same. */
function readProviders(
  workers: readonly Worker[],
  providers: readonly ProviderStatus[],
): readonly Reading[] {
  const states = workerStates.filter((state) => state !== "ended");
  return providers.flatMap(({ name: provider, type, ...status }) => {
    const own = workers.filter((worker) => worker.provider === provider);
    const labels = { provider };
    const asked = own.map(({ classKey }) => parseClassKey(classKey).resources);
    const readings = [
      value("hodei_provider_workers", own.length, labels),
      value("hodei_provider_workers_limit", status.maxWorkers, labels),
      value("hodei_provider_enabled", status.isEnabled ? 1 : 0, labels),
      value("hodei_provider_start_estimate_seconds", status.startEstimateMs / 1_000, labels),
      value(
        "hodei_workers_requested_cpu_cores",
        sum(asked.map(({ cpuMillis }) => cpuMillis)) / 1_000,
        labels,
      ),
      value(
        "hodei_workers_requested_memory_bytes",
        sum(asked.map(({ memoryBytes }) => memoryBytes)),
        labels,
      ),
      value("hodei_workers_requested_gpus", sum(asked.map(({ gpuCount }) => gpuCount)), labels),
      ...states.map((state) => {
        const count = own.filter((worker) => worker.state === state).length;
        return value("hodei_workers_total", count, { provider, state });
      }),
    ];
    if (type !== "kubernetes") return readings;
    const inCluster = own.filter(({ state }) => state !== "planned").length;
    return [...readings, value("hodei_kubernetes_workers_active", inCluster, labels)];
  });
}

/** What the watch of a provider sees in its cluster. */
export function readPods(provider: string, tally: PodTally): readonly Reading[] {
  const labels = { provider };
  return [
    ...Object.entries(tally.byPhase).map(([state, count]) =>
      value("hodei_kubernetes_pods_by_state_total", count, { provider, state }),
    ),
    value("hodei_kubernetes_cpu_request_total", tally.cpuCores, labels),
    value("hodei_kubernetes_memory_request_total", tally.memoryBytes, labels),
    value("hodei_kubernetes_gpu_count_total", tally.gpus, labels),
  ];
}

function value(gauge: StateGauge, number: number, labels: Reading["labels"] = {}): Reading {
  return { gauge, value: number, labels };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
