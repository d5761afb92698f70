import type { KubernetesObject } from "@kubernetes/client-node";
import type { KubernetesConfig } from "./config.ts";
import { type Alert, providerAlerts, storeAlerts } from "./manifests-alerts.ts";
import { systemLabels } from "./manifests-names.ts";

/** What Prometheus is told about the server; both kinds belong to the Prometheus operator. */
export function monitoringObjects(config: KubernetesConfig): readonly KubernetesObject[] {
  return [serviceMonitor(config), prometheusRule(config)];
}

function serviceMonitor({ controlPlane }: KubernetesConfig) {
  return {
    apiVersion: "monitoring.coreos.com/v1",
    kind: "ServiceMonitor",
    metadata: metadata(controlPlane),
    spec: {
      selector: { matchLabels: { ...controlPlane.podLabels } },
      endpoints: [{ port: "http", path: "/metrics", interval: "30s" }],
    },
  };
}

function prometheusRule({ controlPlane }: KubernetesConfig) {
  const { namespace, service } = controlPlane;
  return {
    apiVersion: "monitoring.coreos.com/v1",
    kind: "PrometheusRule",
    metadata: metadata(controlPlane),
    spec: {
      groups: [
        {
          name: "hodei",
          rules: [
            ...workerAlerts(namespace, service),
            ...providerAlerts,
            ...serverAlerts(namespace, service),
            ...storeAlerts,
          ].map(ruleOf),
        },
      ],
    },
  };
}

function metadata({ namespace, service, podLabels }: KubernetesConfig["controlPlane"]) {
  return { name: service, namespace, labels: { ...systemLabels, ...podLabels } };
}

function ruleOf(alert: Alert) {
  return {
    alert: alert.name,
    expr: alert.expression,
    for: alert.for,
    labels: { severity: alert.severity },
    annotations: { summary: alert.summary, description: alert.action },
  };
}

/** Of what runs jobs. */
function workerAlerts(namespace: string, service: string): readonly Alert[] {
  return [
    {
      name: "HodeiServerDown",
      expression: `absent(up{namespace="${namespace}",service="${service}"} == 1)`,
      for: "5m",
      severity: "critical",
      summary: "No Hodei server answers.",
      action: `Jobs go on, and nothing new starts: kubectl -n ${namespace} describe deployment ${service}`,
    },
    {
      name: "HodeiWorkersFailToStart",
      expression: "sum by (provider, cause) (increase(hodei_workers_errors_total[10m])) > 5",
      for: "5m",
      severity: "warning",
      summary: "Workers of {{ $labels.provider }} do not start: {{ $labels.cause }}.",
      action: "hodei doctor says what is wrong with the cluster; hodei jobs explain with one job.",
    },
    {
      name: "HodeiNoWorkersStart",
      expression:
        "sum(increase(hodei_workers_errors_total[15m])) > 0 and sum(increase(hodei_workers_planned_total[15m])) > 0 and sum(increase(hodei_workers_registered_total[15m])) == 0",
      for: "15m",
      severity: "critical",
      summary: "Workers are wanted, some fail, and none has called back for 15 minutes.",
      action: "The provider is unhealthy or its quota is used up: hodei providers list.",
    },
    {
      name: "HodeiJobsFail",
      expression:
        'sum(increase(hodei_jobs_completed_total{status=~"failed|timed_out"}[30m])) > 0.5 * sum(increase(hodei_jobs_completed_total[30m])) and sum(increase(hodei_jobs_completed_total[30m])) > 20',
      for: "10m",
      severity: "warning",
      summary: "More than half of the jobs fail.",
      action: "hodei jobs list --state failed,timed_out shows stage, cause and blame.",
    },
    {
      name: "HodeiJobsSwept",
      expression: "sum by (state) (increase(hodei_jobs_swept_total[30m])) > 20",
      for: "10m",
      severity: "warning",
      summary: "Many jobs run into their deadlines while {{ $labels.state }}.",
      action: "Nothing takes them on in time: capacity, quotas, or agents that cannot connect.",
    },
  ];
}

/** Of the server itself. */
function serverAlerts(namespace: string, service: string): readonly Alert[] {
  return [
    {
      name: "HodeiOrphanedWorkers",
      expression: "sum by (provider) (increase(hodei_workers_orphaned_total[1h])) > 10",
      for: "10m",
      severity: "warning",
      summary: "Leftover workers are found again and again on {{ $labels.provider }}.",
      action: "Something starts or keeps pods with our labels, or the server restarts often.",
    },
    {
      name: "HodeiTokenRefused",
      expression: "increase(hodei_otp_refused_total[10m]) > 0",
      for: "0m",
      severity: "critical",
      summary: "A one-time token was presented that is used, unknown or too old.",
      action: "hodei audit list says whose; a second claimant of a token is an intruder.",
    },
    {
      name: "HodeiCallsRefused",
      expression: "sum by (auth_type) (increase(hodei_auth_failures_total[10m])) > 100",
      for: "10m",
      severity: "warning",
      summary: "Many calls are refused for their {{ $labels.auth_type }}.",
      action: "An expired token in a client, or somebody who guesses.",
    },
    {
      name: "HodeiCallsFail",
      expression:
        'sum(rate(hodei_grpc_requests_total{status=~"INTERNAL|UNKNOWN|DATA_LOSS|RESOURCE_EXHAUSTED"}[10m])) > 0.05 * sum(rate(hodei_grpc_requests_total[10m]))',
      for: "10m",
      severity: "warning",
      summary: "More than 5 % of the calls fail by a fault or a bound of the server.",
      action: `kubectl -n ${namespace} logs deployment/${service} has the errors.`,
    },
    {
      name: "HodeiServerBusy",
      expression: "nodejs_eventloop_lag_p99_seconds > 0.5 and on (instance) hodei_logs_open >= 0",
      for: "10m",
      severity: "warning",
      summary: "The server is out of breath.",
      action: "Give it a whole processor, or spread tenants over several servers.",
    },
  ];
}
