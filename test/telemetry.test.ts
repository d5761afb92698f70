import { expect, test } from "vitest";
import { createMetrics } from "#metrics.ts";
import { createLogger } from "#telemetry.ts";

test("fields that may hold a secret are cut out", () => {
  const lines: string[] = [];
  const log = createLogger("info", { write: (line) => void lines.push(line) });
  log.info({ otp: "s3cret", worker: { session: "s3cret" }, jobId: "j1" }, "worker started");
  expect(lines.join("")).not.toContain("s3cret");
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ jobId: "j1", msg: "worker started" });
});

test("two servers in one process count apart", async () => {
  const [one, other] = [createMetrics(), createMetrics()];
  one.jobEnded("succeeded");
  expect((await one.read()).text).toContain('hodei_jobs_completed_total{status="succeeded"} 1');
  expect((await other.read()).text).not.toContain('status="succeeded"');
});
