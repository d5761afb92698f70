import { type Counter, Gauge, type Registry } from "prom-client";
import { callBuckets, counter, histogram } from "./metrics-parts.ts";

export interface CallMetrics {
  callBegan(method: string): void;
  callEnded(method: string, status: string, seconds: number): void;
  credentialAccepted(kind: string): void;
  credentialRefused(kind: string): void;
  otpRefused(): void;
  agentCounted(what: string): void;
  /** A batch of log records was stored. */
  logAppended(bytes: number): void;
  logRefused(reason: string): void;
  /** A log ended without its last records. */
  logCut(reason: string): void;
  storeStepEnded(step: string, seconds: number): void;
  storeStepFailed(step: string): void;
}

export function countCalls(registry: Registry): CallMetrics {
  const agents = counter(registry, "hodei_agent_streams_total", {
    help: "What happened on the streams of agents.",
    labels: ["event"],
  });
  return {
    ...countRequests(registry),
    ...countCredentials(registry),
    agentCounted: (what) => agents.inc({ event: what }),
    ...countLogs(registry),
    ...countSteps(registry),
  };
}

function countRequests(registry: Registry): Pick<CallMetrics, "callBegan" | "callEnded"> {
  const active = new Gauge({
    name: "hodei_grpc_active_requests",
    help: "Calls under way, by method; open streams are among them.",
    labelNames: ["method"] as const,
    registers: [registry],
  });
  const requests = counter(registry, "hodei_grpc_requests_total", {
    help: "Calls that are over, by method and gRPC status.",
    labels: ["method", "status"],
  });
  const latency = histogram(registry, "hodei_grpc_request_latency_seconds", {
    help: "How long calls took, by method; streams count to their end.",
    labels: ["method"],
    buckets: callBuckets,
  });
  // Looking a child up by its labels costs more than counting.
  const actives = remember((method) => active.labels(method));
  const counters = new Map<string, Counter.Internal>();
  const latencies = remember((method) => latency.labels(method));
  return {
    callBegan: (method) => actives(method).inc(),
    callEnded(method, status, seconds) {
      const key = `${method} ${status}`;
      let requestCounter = counters.get(key);
      if (requestCounter === undefined) {
        requestCounter = requests.labels(method, status);
        counters.set(key, requestCounter);
      }
      requestCounter.inc();
      latencies(method).observe(seconds);
      actives(method).dec();
    },
  };
}

function countCredentials(
  registry: Registry,
): Pick<CallMetrics, "credentialAccepted" | "credentialRefused" | "otpRefused"> {
  const labels = ["auth_type"] as const;
  const accepted = counter(registry, "hodei_auth_success_total", {
    help: "Calls let in, by kind of credential.",
    labels,
  });
  const refused = counter(registry, "hodei_auth_failures_total", {
    help: "Calls refused for their credentials, by kind of credential.",
    labels,
  });
  const otp = counter(registry, "hodei_otp_refused_total", {
    help: "One-time tokens that were refused.",
  });
  const children = remember((kind) => accepted.labels(kind));
  return {
    credentialAccepted: (kind) => children(kind).inc(),
    credentialRefused: (kind) => refused.inc({ auth_type: kind }),
    otpRefused: () => otp.inc(),
  };
}

function countLogs(registry: Registry): Pick<CallMetrics, "logAppended" | "logRefused" | "logCut"> {
  const batches = counter(registry, "hodei_log_batches_total", {
    help: "Batches of log records that were stored; one that was sent again counts again.",
  });
  const bytes = counter(registry, "hodei_log_bytes_total", {
    help: "Bytes of the batches of log records that were stored.",
  });
  const refused = counter(registry, "hodei_log_append_errors_total", {
    help: "Batches of log records that were not stored, by reason.",
    labels: ["reason"],
  });
  const cut = counter(registry, "hodei_log_gaps_total", {
    help: "Logs that ended without their last records, by reason.",
    labels: ["reason"],
  });
  return {
    logAppended(size) {
      batches.inc();
      bytes.inc(size);
    },
    logRefused: (reason) => refused.inc({ reason }),
    logCut: (reason) => cut.inc({ reason }),
  };
}

function countSteps(registry: Registry): Pick<CallMetrics, "storeStepEnded" | "storeStepFailed"> {
  const latency = histogram(registry, "hodei_store_step_seconds", {
    help: "How long steps of the store took until they were durable, its queue included.",
    labels: ["step"],
    buckets: callBuckets,
  });
  const failed = counter(registry, "hodei_store_errors_total", {
    help: "Steps of the store that failed.",
    labels: ["step"],
  });
  const latencies = remember((step) => latency.labels(step));
  return {
    storeStepEnded: (step, seconds) => latencies(step).observe(seconds),
    storeStepFailed: (step) => failed.inc({ step }),
  };
}

function remember<Child extends object>(make: (label: string) => Child): (label: string) => Child {
  const children = new Map<string, Child>();
  return (label) => {
    const known = children.get(label);
    if (known !== undefined) return known;
    const child = make(label);
    children.set(label, child);
    return child;
  };
}
