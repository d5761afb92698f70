import type { Registry } from "prom-client";
import { counter, histogram, startBuckets } from "./metrics-parts.ts";

export interface WorkerMetrics {
  workersPlanned(provider: string, count: number): void;
  startFailed(provider: string, cause: string): void;
  /** Its agent has redeemed its token, for the first time. */
  workerReady(provider: string, seconds: number): void;
  workerEnded(provider: string): void;
  /** A part of a worker's start, such as `pull`. */
  startPhaseEnded(provider: string, phase: string, seconds: number): void;
  orphanStopped(provider: string): void;
}

export function countWorkers(registry: Registry): WorkerMetrics {
  const byProvider = (name: string, help: string) =>
    counter(registry, name, { help, labels: ["provider"] });
  const planned = byProvider("hodei_workers_planned_total", "Workers whose start was intended.");
  const registered = byProvider(
    "hodei_workers_registered_total",
    "Workers whose agent dialled back.",
  );
  const ended = byProvider("hodei_workers_ended_total", "Workers that are over.");
  const orphans = byProvider("hodei_workers_orphaned_total", "Leftovers that were stopped.");
  const failed = counter(registry, "hodei_workers_errors_total", {
    help: "Workers that could not be started, by provider and cause.",
    labels: ["provider", "cause"],
  });
  const times = histogram(registry, "hodei_worker_provisioning_time_seconds", {
    help: "How long it took from the intent to start a worker until its agent dialled back.",
    labels: ["provider"],
    buckets: startBuckets,
  });
  const phases = histogram(registry, "hodei_worker_start_phase_seconds", {
    help: "How long the parts of a worker's start took: schedule, pull, init, connect.",
    labels: ["provider", "phase"],
    buckets: startBuckets,
  });
  return {
    workersPlanned: (provider, count) => planned.inc({ provider }, count),
    startFailed: (provider, cause) => failed.inc({ provider, cause }),
    workerReady(provider, seconds) {
      registered.inc({ provider });
      times.observe({ provider }, seconds);
    },
    workerEnded: (provider) => ended.inc({ provider }),
    startPhaseEnded: (provider, phase, seconds) => phases.observe({ provider, phase }, seconds),
    orphanStopped: (provider) => orphans.inc({ provider }),
  };
}
