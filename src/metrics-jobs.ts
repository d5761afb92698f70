import type { Registry } from "prom-client";
import { counter, histogram, jobBuckets } from "./metrics-parts.ts";

export interface JobMetrics {
  jobsSubmitted(count: number): void;
  jobRequeued(): void;
  jobEnded(end: JobEndFacts): void;
  jobsSwept(state: string): void;
  attemptCounted(what: string): void;
}

/** A job that is over; each is told once. */
export interface JobEndFacts {
  readonly state: "succeeded" | "failed" | "cancelled" | "timed_out";
  /** Of its failure. */
  readonly cause: string | undefined;
  /** Of its last attempt; undefined: it never had one. */
  readonly provider: string | undefined;
  /** Times are milliseconds since 1970. */
  readonly submittedAt: number;
  /** When the process of its last attempt started, if it did. */
  readonly startedAt: number | undefined;
  readonly endedAt: number;
}

export function countJobs(registry: Registry): JobMetrics {
  const created = counter(registry, "hodei_jobs_created_total", {
    help: "Jobs that were accepted.",
  });
  const queued = counter(registry, "hodei_jobs_queued_total", {
    help: "Times that a job was put into the queue: when it was accepted, and before each further attempt.",
  });
  const completed = counter(registry, "hodei_jobs_completed_total", {
    help: "Jobs that ended, by final state.",
    labels: ["status"],
  });
  const failed = counter(registry, "hodei_jobs_failed_total", {
    help: "Jobs that failed or ran out of time, by cause.",
    labels: ["error_type"],
  });
  const cancelled = counter(registry, "hodei_jobs_cancelled_total", {
    help: "Jobs that were cancelled.",
  });
  const times = measureJobs(registry);
  const swept = counter(registry, "hodei_jobs_swept_total", {
    help: "Jobs moved on because a deadline had passed, by the state that they were in.",
    labels: ["state"],
  });
  const attempts = counter(registry, "hodei_attempts_total", {
    help: "What happened to attempts.",
    labels: ["event"],
  });
  return {
    jobsSubmitted(count) {
      created.inc(count);
      queued.inc(count);
    },
    jobRequeued: () => queued.inc(),
    jobEnded(end) {
      completed.inc({ status: end.state });
      if (end.state === "cancelled") cancelled.inc();
      else if (end.state !== "succeeded") failed.inc({ error_type: end.cause ?? "unknown" });
      times(end);
    },
    jobsSwept: (state) => swept.inc({ state }),
    attemptCounted: (what) => attempts.inc({ event: what }),
  };
}

function measureJobs(registry: Registry): (end: JobEndFacts) => void {
  const of = (name: string, help: string) =>
    histogram(registry, name, { help, labels: ["provider"], buckets: jobBuckets });
  const duration = of(
    "hodei_job_duration_seconds",
    "How long jobs took from their submit to their end, by the provider of their last attempt.",
  );
  const waits = of(
    "hodei_job_wait_seconds",
    "How long it took from the submit of jobs to the start of the process of their last attempt.",
  );
  const execution = of(
    "hodei_job_execution_time_seconds",
    "How long the processes of the last attempts of jobs ran.",
  );
  return ({ provider = "none", submittedAt, startedAt, endedAt }) => {
    const labels = { provider };
    duration.observe(labels, secondsBetween(submittedAt, endedAt));
    if (startedAt === undefined) return;
    waits.observe(labels, secondsBetween(submittedAt, startedAt));
    execution.observe(labels, secondsBetween(startedAt, endedAt));
  };
}

/** Two clocks may be behind them. */
function secondsBetween(from: number, to: number): number {
  return Math.max(0, to - from) / 1_000;
}
