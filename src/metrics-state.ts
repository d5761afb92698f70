import { Gauge, type Registry } from "prom-client";

const byProvider = ["provider"] as const;

/** Gauges that are read when somebody asks, and what they say. */
const gauges = {
  hodei_queue_depth: ["Queued jobs that a worker could take now."],
  hodei_queue_waiting: ["Queued jobs that wait for their next attempt."],
  hodei_queue_oldest_seconds: [
    "How long ago the oldest job that a worker could take was submitted.",
  ],
  hodei_jobs_running: ["Jobs that a worker has: starting, running or being cancelled."],
  hodei_workers_total: ["Workers that are not over, by provider and state.", "provider", "state"],
  hodei_workers_by_state: ["Workers that are not over, by state.", "state"],
  hodei_workers_active: ["Workers that have a job."],
  hodei_workers_idle: ["Workers that are ready and have no job."],
  hodei_workers_connected: [
    "Workers whose agent is connected, to this server or to another one on the same store.",
  ],
  hodei_workers_requested_cpu_cores: [
    "Processors that the jobs of live workers ask for.",
    ...byProvider,
  ],
  hodei_workers_requested_memory_bytes: [
    "Memory that the jobs of live workers ask for.",
    ...byProvider,
  ],
  hodei_workers_requested_gpus: ["GPUs that the jobs of live workers ask for.", ...byProvider],
  hodei_provider_workers: ["Workers of a provider that are not over.", ...byProvider],
  hodei_provider_workers_limit: ["Workers that a provider has room for.", ...byProvider],
  hodei_provider_enabled: ["Whether a provider may be given new workers.", ...byProvider],
  hodei_provider_start_estimate_seconds: [
    "How long a start is expected to take there, learned from those so far.",
    ...byProvider,
  ],
  hodei_kubernetes_workers_active: ["Workers that may have a pod in a cluster.", ...byProvider],
  hodei_kubernetes_pods_by_state_total: [
    "Pods of workers that are there, by phase; those being deleted are Terminating.",
    "provider",
    "state",
  ],
  hodei_kubernetes_cpu_request_total: [
    "Processors that the pods of workers ask for, until they are over.",
    ...byProvider,
  ],
  hodei_kubernetes_memory_request_total: [
    "Bytes of memory that the pods of workers ask for, until they are over.",
    ...byProvider,
  ],
  hodei_kubernetes_gpu_count_total: [
    "GPUs that the pods of workers ask for, until they are over.",
    ...byProvider,
  ],
  hodei_replicas: [
    "Servers that share the store of this one and live; absent where it is not shared.",
  ],
  hodei_replica_leading: [
    "Whether this server starts and ends workers, for all that share its store.",
  ],
  hodei_logs_open: ["Logs that have not ended."],
  hodei_log_stored_bytes: ["Bytes of logs on disk."],
  hodei_log_archive_stored_bytes: ["Bytes of logs in the archive; absent without one."],
  hodei_log_archive_waiting_bytes: ["Bytes of logs that are still to go to the archive."],
  hodei_log_archive_reachable: ["Whether the archive of logs answered when it was last asked."],
  hodei_log_store_writable: ["Whether logs can be written."],
  hodei_disk_free_bytes: ["Room that is left on the disk of the data folder."],
  hodei_disk_size_bytes: ["Size of the disk of the data folder."],
  hodei_cert_expires_timestamp_seconds: [
    "When the certificate that the server shows ends, in seconds since 1970; absent without TLS.",
  ],
  hodei_server_ready: ["Whether the server takes jobs."],
} as const satisfies Readonly<Record<string, readonly [help: string, ...labels: string[]]>>;

export type StateGauge = keyof typeof gauges;

/** One value of a gauge. */
export interface Reading {
  readonly gauge: StateGauge;
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

export type Source = () => Promise<readonly Reading[]>;

/** Gauges of how things stand now. What cannot be read is not shown, rather than how it was. */
export class StateGauges {
  readonly #gauges: ReadonlyMap<string, Gauge>;
  readonly #sources = new Set<Source>();

  constructor(registry: Registry) {
    this.#gauges = new Map(
      Object.entries(gauges).map(([name, [help, ...labelNames]]) => [
        name,
        new Gauge({ name, help, labelNames, registers: [registry] }),
      ]),
    );
    this.#clear();
  }

  add(source: Source): () => void {
    this.#sources.add(source);
    return () => this.#sources.delete(source);
  }

  async refresh(): Promise<void> {
    const readings = await Promise.all(
      [...this.#sources].map(async (read) => read().catch((): readonly Reading[] => [])),
    );
    // From here on in one turn, so that two who ask at a time see whole values.
    this.#clear();
    for (const { gauge, value, labels = {} } of readings.flat()) {
      this.#gauges.get(gauge)?.set(labels, value);
    }
  }

  #clear(): void {
    for (const [name, [, ...labels]] of Object.entries(gauges)) {
      const gauge = this.#gauges.get(name);
      gauge?.reset();
      // One without labels would be zero.
      if (labels.length === 0) gauge?.remove();
    }
  }
}
