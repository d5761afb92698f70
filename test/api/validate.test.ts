import { describe, expect, test } from "vitest";
import { checkSpec, pageSizeOf } from "#api/validate.ts";
import { HodeiError } from "#error.ts";
import { JobSpec, ProviderPreference, type ReschedulePolicy } from "#rpc/gen/hodei/v1/job.ts";

const good: JobSpec = { ...JobSpec.decode(new Uint8Array()), command: ["true"] };
const seconds = (count: number, nanos = 0) => ({ seconds: count, nanos });
const retry = {
  maxAttempts: 2,
  initialBackoff: undefined,
  maxBackoff: undefined,
  multiplier: 2,
  retryableExitCodes: [1],
  retryLost: false,
};
const resources = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" };

const anywhere = ProviderPreference.decode(new Uint8Array());

const bad: [string, Partial<JobSpec>][] = [
  ["spec.name", { name: "x".repeat(129) }],
  ["spec.name", { name: "a\nb" }],
  ["spec.command", { command: [] }],
  ["spec.command", { script: { interpreter: [], content: "true" } }],
  ["spec.command", { command: ["a", "b\0c"] }],
  ["spec.command[0]", { command: [""] }],
  ["spec.command", { command: Array<string>(10_001).fill("x") }],
  ["spec.script.content", { command: [], script: { interpreter: [], content: "" } }],
  ["spec.script.interpreter", { command: [], script: { interpreter: ["\0"], content: "x" } }],
  ["spec.env", { env: { "1A": "" } }],
  ["spec.env", { env: { "A B": "" } }],
  ["spec.env", { env: { HODEI_OTP: "" } }],
  ["spec.env.A", { env: { A: "\0" } }],
  ["spec.working_directory", { workingDirectory: "relative" }],
  ["spec.working_directory", { workingDirectory: "/a\0" }],
  ["spec.working_directory", { workingDirectory: `/${"a".repeat(4096)}` }],
  ["spec.stdin", { stdin: Buffer.alloc(512 * 1024 + 1) }],
  ["spec.labels", { labels: { "a b": "" } }],
  ["spec.labels", { labels: { "hodei.io/x": "" } }],
  ["spec.labels", { labels: { "app.kubernetes.io/x": "" } }],
  ["spec.labels", { labels: { a: "-" } }],
  ["spec.labels", { labels: { a: "x".repeat(64) } }],
  ["spec.labels", { labels: { "UP/x": "" } }],
  [
    "spec.labels",
    { labels: Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`k${at}`, ""])) },
  ],
  ["spec.annotations", { annotations: { "": "x" } }],
  ["spec.annotations", { annotations: { a: "\0" } }],
  ["spec.resources.cpu_millis", { resources: { ...resources, cpuMillis: -1 } }],
  ["spec.resources.memory_bytes", { resources: { ...resources, memoryBytes: 2 ** 53 } }],
  ["spec.resources.gpu_count", { resources: { ...resources, gpuCount: -1 } }],
  ["spec.resources.gpu_type", { resources: { ...resources, gpuType: "a100" } }],
  ["spec.image", { image: "Upper" }],
  ["spec.image", { image: "a b" }],
  ["spec.image", { image: "../x" }],
  ["spec.image", { image: "a@sha256:1" }],
  ["spec.image", { image: "a:" }],
  ["spec.priority", { priority: 1001 }],
  ["spec.priority", { priority: -1001 }],
  ["spec.queue_timeout", { queueTimeout: seconds(0) }],
  ["spec.queue_timeout", { queueTimeout: seconds(-1) }],
  ["spec.execution_timeout", { executionTimeout: seconds(1e12) }],
  ["spec.execution_timeout", { executionTimeout: seconds(1, -1) }],
  ["spec.execution_timeout", { executionTimeout: seconds(1, 1e9) }],
  ["spec.cancel_grace", { cancelGrace: seconds(-1) }],
  ["spec.disconnect_tolerance", { disconnectTolerance: seconds(0) }],
  ["spec.log_ttl", { logTtl: seconds(0) }],
  ["spec.reschedule", { reschedule: 9 as ReschedulePolicy }],
  ["spec.retry.max_attempts", { retry: { ...retry, maxAttempts: 101 } }],
  ["spec.retry.max_attempts", { retry: { ...retry, maxAttempts: -1 } }],
  ["spec.retry.multiplier", { retry: { ...retry, multiplier: Number.NaN } }],
  ["spec.retry.multiplier", { retry: { ...retry, multiplier: 0.5 } }],
  ["spec.retry.multiplier", { retry: { ...retry, multiplier: Number.POSITIVE_INFINITY } }],
  ["spec.retry.retryable_exit_codes", { retry: { ...retry, retryableExitCodes: [0] } }],
  ["spec.provider.name", { provider: { ...anywhere, strict: true } }],
  ["spec.provider.name", { provider: { ...anywhere, name: "no way" } }],
  ["spec.provider.architecture", { provider: { ...anywhere, architecture: "vax" } }],
  ["spec.provider.runtimes", { provider: { ...anywhere, runtimes: ["python", ""] } }],
  ["spec.provider.runtimes", { provider: { ...anywhere, runtimes: ["Python 3"] } }],
  ["spec.provider.runtimes", { provider: { ...anywhere, runtimes: Array(33).fill("go") } }],
  ["spec.provider.allowed_regions", { provider: { ...anywhere, allowedRegions: [""] } }],
  ["spec.provider.required_labels", { provider: { ...anywhere, requiredLabels: { a: "\n" } } }],
  ["spec.hold_after_failure", { holdAfterFailure: seconds(86_401) }],
];

const fine: Partial<JobSpec>[] = [
  {},
  { command: [], script: { interpreter: ["/usr/bin/env", "python3"], content: "print(1)\n" } },
  { command: ["sh", ""] },
  { env: { A: "", _b2: "x=y\n" }, workingDirectory: "/" },
  {
    labels: { "example.com/team": "a.b_c", x: "" },
    annotations: { "example.com/x": "free, text\n" },
  },
  { resources: { ...resources, gpuCount: 1, gpuType: "nvidia.com/gpu" } },
  { image: "registry.example.com:5000/team/app:v1.2_3" },
  { image: `a__b/c@sha256:${"0".repeat(64)}` },
  { priority: -1000, cancelGrace: seconds(0), queueTimeout: seconds(0, 1e6) },
  { retry: { ...retry, maxAttempts: 100, multiplier: 0, retryableExitCodes: [] } },
  { provider: { ...anywhere, name: "kubernetes", strict: true } },
  { provider: { ...anywhere, allowedRegions: ["eu", "us"], requiredLabels: { disk: "ssd" } } },
  { provider: { ...anywhere, runtimes: ["python3.12", "node", "c++"] } },
  { holdAfterFailure: seconds(600) },
];

describe("a spec", () => {
  test.for(bad)("is refused for %s: %o", ([field, change]) => {
    const check = (): void => checkSpec({ ...good, ...change });
    expect(check).toThrow(HodeiError);
    expect(check).toThrow(`${field}: `);
  });

  test.for(fine)("is taken: %o", (change) => {
    expect(() => checkSpec({ ...good, ...change })).not.toThrow();
  });
});

test("a page has from 1 to 500 rows", () => {
  expect(pageSizeOf(0)).toBe(50);
  expect(pageSizeOf(500)).toBe(500);
  expect(() => pageSizeOf(501)).toThrow("page_size");
  expect(() => pageSizeOf(-1)).toThrow("page_size");
});
