/** Something that somebody is to be told of. */
export interface Alert {
  readonly name: string;
  readonly expression: string;
  readonly for: string;
  readonly severity: "warning" | "critical";
  readonly summary: string;
  readonly action: string;
}

/** Of providers and what waits for them. */
export const providerAlerts: readonly Alert[] = [
  {
    name: "HodeiPodsNotCreated",
    expression:
      "sum by (provider, status) (increase(hodei_kubernetes_pod_creation_errors_total[10m])) > 3",
    for: "0m",
    severity: "warning",
    summary:
      "The API server of {{ $labels.provider }} does not create pods: status {{ $labels.status }}.",
    action:
      "403 means rights, quota or admission, 0 that it does not answer; hodei doctor tells them apart.",
  },
  {
    name: "HodeiProviderCircuitOpen",
    expression: "hodei_provider_circuit_state == 2",
    for: "5m",
    severity: "warning",
    summary: "Provider {{ $labels.provider }} is given no work since it failed.",
    action:
      "hodei providers get has the reason; it gets its share back once its probes have gone well.",
  },
  {
    name: "HodeiProviderUnhealthy",
    expression:
      "hodei_provider_health < 0.5 and on (instance, provider) hodei_provider_enabled == 1",
    for: "5m",
    severity: "warning",
    summary: "Provider {{ $labels.provider }} is not well.",
    action: "hodei providers get says why, hodei doctor what is wrong with the cluster.",
  },
  {
    name: "HodeiProviderFull",
    expression:
      "hodei_provider_workers >= hodei_provider_workers_limit and on (instance) hodei_queue_depth > 0 and on (instance, provider) hodei_provider_enabled == 1",
    for: "15m",
    severity: "warning",
    summary: "Provider {{ $labels.provider }} has been full for 15 minutes while jobs wait.",
    action: "Raise its most workers or its quota, or add a provider.",
  },
  {
    name: "HodeiQueueOld",
    expression: "hodei_queue_oldest_seconds > 600",
    for: "5m",
    severity: "warning",
    summary: "A job has waited for a worker for more than 10 minutes.",
    action: "hodei jobs list --state queued, then hodei jobs explain with one of them.",
  },
];

/** Of what the server keeps, and shows. */
export const storeAlerts: readonly Alert[] = [
  {
    name: "HodeiStoreFails",
    expression: "sum by (instance) (increase(hodei_store_errors_total[5m])) > 0",
    for: "0m",
    severity: "critical",
    summary: "Steps of the store fail on {{ $labels.instance }}.",
    action: "The disk is full, or a commit failed; then the server ends and is started again.",
  },
  {
    name: "HodeiLogStoreNotWritable",
    expression: "hodei_log_store_writable == 0",
    for: "1m",
    severity: "critical",
    summary: "The server on {{ $labels.instance }} cannot write logs.",
    action: "Jobs wait with their output until it can. Usually the volume is full.",
  },
  {
    name: "HodeiDiskFills",
    expression:
      "hodei_disk_free_bytes < 0.1 * hodei_disk_size_bytes or predict_linear(hodei_disk_free_bytes[6h], 86400) < 0",
    for: "15m",
    severity: "warning",
    summary: "The volume of {{ $labels.instance }} is nearly full, or will be within a day.",
    action: "Give it room, or keep logs for a shorter time.",
  },
  {
    name: "HodeiCertificateEnds",
    expression: "hodei_cert_expires_timestamp_seconds - time() < 7 * 86400",
    for: "1h",
    severity: "critical",
    summary: "The certificate of the server on {{ $labels.instance }} ends within a week.",
    action: "Put a new one in the place of the old files; the server reads them again by itself.",
  },
];
