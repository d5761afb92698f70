import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

// Apart from telemetry.ts, so that the agent's bundle carries a logger and no registry. Labels have few values and never name a job, a tenant or a worker.

/** What a server counts. One per server. */
export interface Metrics {
  jobsSubmitted(count: number): void;
  jobEnded(state: string): void;
  credentialRefused(kind: string): void;
  otpRefused(): void;
  callEnded(method: string, status: string, seconds: number): void;
  workersPlanned(provider: string, count: number): void;
  startFailed(provider: string, cause: string): void;
  workerEnded(provider: string): void;
  orphanStopped(provider: string): void;
  jobsSwept(state: string): void;
  attemptCounted(what: string): void;
  agentCounted(what: string): void;
  /** Sets a gauge whenever metrics are read; `read` must not wait. */
  observe(gauge: ObservedGauge): void;
  read(): Promise<{ readonly type: string; readonly text: string }>;
}

export interface ObservedGauge {
  readonly name: string;
  readonly help: string;
  readonly read: () => number;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return {
    ...countJobs(registry),
    ...countWorkers(registry),
    ...countCalls(registry),
    observe({ name, help, read }) {
      const gauge: Gauge = new Gauge({
        name,
        help,
        registers: [registry],
        collect: () => gauge.set(read()),
      });
    },
    async read() {
      return { type: registry.contentType, text: await registry.metrics() };
    },
  };
}

function countJobs(
  registry: Registry,
): Pick<Metrics, "jobsSubmitted" | "jobEnded" | "jobsSwept" | "attemptCounted"> {
  const submitted = counter(registry, "hodei_jobs_created_total", "Jobs that were accepted.");
  const ended = labelled(registry, "hodei_jobs_completed_total", {
    help: "Jobs that ended, by final state.",
    label: "status",
  });
  const swept = labelled(registry, "hodei_jobs_swept_total", {
    help: "Jobs moved on because a deadline had passed, by the state that they were in.",
    label: "state",
  });
  const attempts = labelled(registry, "hodei_attempts_total", {
    help: "What happened to attempts.",
    label: "event",
  });
  return {
    jobsSubmitted: (count) => submitted.inc(count),
    jobEnded: (state) => ended.inc({ status: state }),
    attemptCounted: (what) => attempts.inc({ event: what }),
    jobsSwept: (state) => swept.inc({ state }),
  };
}

function countWorkers(
  registry: Registry,
): Pick<Metrics, "workersPlanned" | "startFailed" | "workerEnded" | "orphanStopped"> {
  const byProvider = (name: string, help: string): Counter =>
    labelled(registry, name, { help, label: "provider" });
  const planned = byProvider("hodei_workers_planned_total", "Workers whose start was intended.");
  const ended = byProvider("hodei_workers_ended_total", "Workers that are over.");
  const orphans = byProvider("hodei_workers_orphaned_total", "Leftovers that were stopped.");
  const failed = new Counter({
    name: "hodei_workers_errors_total",
    help: "Workers that could not be started, by provider and cause.",
    labelNames: ["provider", "cause"],
    registers: [registry],
  });
  return {
    workersPlanned: (provider, count) => planned.inc({ provider }, count),
    startFailed: (provider, cause) => failed.inc({ provider, cause }),
    workerEnded: (provider) => ended.inc({ provider }),
    orphanStopped: (provider) => orphans.inc({ provider }),
  };
}

function countCalls(
  registry: Registry,
): Pick<Metrics, "callEnded" | "credentialRefused" | "otpRefused" | "agentCounted"> {
  const registers = [registry];
  const requests = new Counter({
    name: "hodei_grpc_requests_total",
    help: "Calls that are over, by method and gRPC status.",
    labelNames: ["method", "status"],
    registers,
  });
  const latency = new Histogram({
    name: "hodei_grpc_request_latency_seconds",
    help: "How long calls took, by method; streams count to their end.",
    labelNames: ["method"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const refused = labelled(registry, "hodei_auth_failures_total", {
    help: "Calls refused for their credentials, by kind of credential.",
    label: "auth_type",
  });
  const agents = labelled(registry, "hodei_agent_streams_total", {
    help: "What happened on the streams of agents.",
    label: "event",
  });
  const otp = counter(registry, "hodei_otp_refused_total", "One-time tokens that were refused.");
  // Looking a child up by its labels costs more than counting.
  const counters = new Map<string, Counter.Internal>();
  const latencies = new Map<string, Histogram.Internal<"method">>();
  return {
    callEnded(method, status, seconds) {
      const key = `${method} ${status}`;
      let requestCounter = counters.get(key);
      if (requestCounter === undefined) {
        requestCounter = requests.labels(method, status);
        counters.set(key, requestCounter);
      }
      requestCounter.inc();
      let timer = latencies.get(method);
      if (timer === undefined) latencies.set(method, (timer = latency.labels(method)));
      timer.observe(seconds);
    },
    credentialRefused: (kind) => refused.inc({ auth_type: kind }),
    otpRefused: () => otp.inc(),
    agentCounted: (what) => agents.inc({ event: what }),
  };
}

function counter(registry: Registry, name: string, help: string): Counter {
  return new Counter({ name, help, registers: [registry] });
}

function labelled(
  registry: Registry,
  name: string,
  { help, label }: { readonly help: string; readonly label: string },
): Counter {
  return new Counter({ name, help, labelNames: [label], registers: [registry] });
}
