import { expect, test } from "vitest";
import { admitJob } from "#api/admission.ts";
import type { Caller } from "#api/authenticate.ts";
import { annotationProblem, labelProblem } from "#job/label.ts";
import { JobSpec } from "#rpc/gen/hodei/v1/job.ts";
import { specDefaults } from "#rpc/spec.ts";

const options = {
  defaults: specDefaults,
  maxQueuedJobsPerTenant: 10,
  strategyNames: ["lowest_cost"],
  idempotencyTtlMs: 60_000,
  now: 0,
};

function admit(role: Caller["role"], labels: Record<string, string>, tenant = "") {
  const spec = { ...JobSpec.decode(new Uint8Array()), command: ["true"], labels };
  const caller: Caller = { kind: "client", subject: "x", tenant: "acme", role };
  return admitJob({ spec, tenant, idempotencyKey: "" }, { caller, correlationId: "c" }, options);
}

test.for([
  "hodei.io/worker-id",
  "a.hodei.io/x",
  "kubernetes.io/os",
  "app.kubernetes.io/name",
  "node.k8s.io/x",
  "k8s.io/x",
])("%s is reserved, and refused with its name", (key) => {
  expect(labelProblem(key, "x")).toContain(`"${key}" is reserved`);
  expect(annotationProblem(key)).toContain(`"${key}" is reserved`);
  expect(() => admit("admin", { [key]: "x" })).toThrow(`spec.labels: "${key}" is reserved`);
});

test.for([
  ["", "x"],
  ["/a", "x"],
  ["a/b/c", "x"],
  ["-a", "x"],
  ["a".repeat(64), "x"],
  [`${"a".repeat(254)}/x`, "x"],
  ["a", "not a value"],
  ["a", "x".repeat(64)],
] as const)("a cluster would not take %j=%j", ([key, value]) => {
  expect(labelProblem(key, value)).toContain(`"${key.slice(0, 80)}`);
});

test.for([
  ["app", ""],
  ["team", "a.b_c-D"],
  ["example.com/team", "x"],
  ["myhodei.io/x", "1"],
  ["sidecar.istio.io/inject", "false"],
] as const)("a user may say %s=%s", ([key, value]) => {
  expect(labelProblem(key, value)).toBeUndefined();
});

test("a job may name its own tenant by a label, and an admin any", () => {
  const key = "hodei.io/tenant-id";
  expect(admit("submitter", { [key]: "acme" }).tenant).toBe("acme");
  expect(() => admit("operator", { [key]: "other" })).toThrow("only an admin");
  expect(() => admit("submitter", { [key]: "" })).toThrow(`"${key}" does not name`);
  expect(admit("admin", { [key]: "other" }).tenant).toBe("other");
  expect(admit("admin", { [key]: "other" }, "other").tenant).toBe("other");
  expect(() => admit("admin", { [key]: "other" }, "third")).toThrow(`"${key}" does not name`);
  expect(() => admit("admin", { [key]: "Not A Name" })).toThrow("tenant");
});
