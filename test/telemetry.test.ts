import { expect, test } from "vitest";
import { createMetrics } from "#metrics.ts";
import { createLogger } from "#telemetry.ts";

test.for([
  { otp: "s3cret", worker: { session: "s3cret" } },
  { call: { metadata: { headers: [{ authorization: "s3cret" }] } } },
  { spec: { job: { env: { KEY: "s3cret" }, stdin: "s3cret" } } },
  { err: Object.assign(new Error("refused"), { request: { kubeconfig: "s3cret" } }) },
])("fields that may hold a secret are cut out of %j", (fields) => {
  const lines: string[] = [];
  const log = createLogger("info", { write: (line) => void lines.push(line) });
  log.info({ ...fields, jobId: "j1" }, "worker started");
  log.child(fields).info("worker started");
  expect(lines).toHaveLength(2);
  expect(lines.join("")).not.toContain("s3cret");
  expect(lines[0]).toContain("[redacted]");
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ jobId: "j1", msg: "worker started" });
});

test("what is no secret is written as it is", () => {
  const lines: string[] = [];
  const log = createLogger("info", { write: (line) => void lines.push(line) });
  const at = new Date(0);
  log.info({ at, list: [1, { a: null }], bytes: Buffer.from("a"), err: new Error("x") }, "read");
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({
    at: at.toISOString(),
    list: [1, { a: null }],
    bytes: { type: "Buffer" },
    err: { type: "Error", message: "x" },
  });
});

test("two servers in one process count apart", async () => {
  const [one, other] = [createMetrics(), createMetrics()];
  one.jobEnded({
    state: "succeeded",
    cause: undefined,
    provider: "process",
    submittedAt: 0,
    startedAt: 1_000,
    endedAt: 3_000,
  });
  const { text } = await one.read();
  expect(text).toContain('hodei_jobs_completed_total{status="succeeded"} 1');
  expect(text).toContain('hodei_job_duration_seconds_sum{provider="process"} 3');
  expect(text).toContain('hodei_job_execution_time_seconds_sum{provider="process"} 2');
  expect((await other.read()).text).not.toContain('status="succeeded"');
});

test("a gauge that cannot be read is left out, and so is what it said before", async () => {
  const metrics = createMetrics();
  let isBroken = false;
  metrics.observe(async () => {
    if (isBroken) throw new Error("no answer");
    return [{ gauge: "hodei_queue_depth", value: 3 }];
  });
  metrics.observe(async () => [{ gauge: "hodei_logs_open", value: 7 }]);
  expect((await metrics.read()).text).toMatch(/^hodei_queue_depth 3$/m);
  isBroken = true;
  const { text } = await metrics.read();
  expect(text).not.toMatch(/^hodei_queue_depth /m);
  expect(text).toMatch(/^hodei_logs_open 7$/m);
});
