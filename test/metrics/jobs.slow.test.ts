import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type Measured, type Scrape, startMeasured } from "./ground.ts";

let measured: Measured;
beforeAll(async () => {
  measured = await startMeasured();
});
afterAll(async () => measured[Symbol.asyncDispose]());

/** Resolves once the worker of the job is over, so that nothing more is to be counted. */
async function settled(): Promise<Scrape> {
  return vi.waitFor(
    async () => {
      const scrape = await measured.scrape();
      expect(scrape.values.get('hodei_provider_workers{provider="process"}')).toBe(0);
      return scrape;
    },
    { timeout: 30_000, interval: 100 },
  );
}

/** How much each value has grown, those that have not left out. */
function growth(before: Scrape, after: Scrape): Record<string, number> {
  const grown = [...after.values].map(([name, value]): [string, number] => [
    name,
    value - (before.values.get(name) ?? 0),
  ]);
  return Object.fromEntries(grown.filter(([, by]) => by !== 0));
}

const process = '{provider="process"}';

test("after one job, counters and histograms have moved by exactly one", async () => {
  const before = await settled();
  const { id } = await measured.client.submit({ command: ["sh", "-c", "echo one; echo two"] });
  expect(await measured.client.wait(id)).toMatchObject({ state: "succeeded" });
  const grown = growth(before, await settled());
  expect(grown).toMatchObject({
    hodei_jobs_created_total: 1,
    hodei_jobs_queued_total: 1,
    'hodei_jobs_completed_total{status="succeeded"}': 1,
    [`hodei_job_duration_seconds_count${process}`]: 1,
    [`hodei_job_wait_seconds_count${process}`]: 1,
    [`hodei_job_execution_time_seconds_count${process}`]: 1,
    [`hodei_workers_planned_total${process}`]: 1,
    [`hodei_workers_registered_total${process}`]: 1,
    [`hodei_workers_ended_total${process}`]: 1,
    [`hodei_worker_provisioning_time_seconds_count${process}`]: 1,
    'hodei_attempts_total{event="assigned"}': 1,
    'hodei_attempts_total{event="finished"}': 1,
    hodei_log_batches_total: 1,
    'hodei_grpc_requests_total{method="/hodei.v1.AgentService/Redeem",status="OK"}': 1,
    'hodei_store_step_seconds_count{step="redeem"}': 1,
  });
  const names = Object.keys(grown).join("\n");
  expect(names).not.toMatch(/failed|cancelled|errors|refused/);
  // No label has a value for each job, worker or attempt.
  expect(names).not.toMatch(/"[jwa][0-9a-z]{11,}"/);
});

test("a job that fails is counted by its cause, a retried one once with two attempts", async () => {
  const before = await settled();
  const retry = { maxAttempts: 2, initialBackoffMs: 1, maxBackoffMs: 1 };
  const { id } = await measured.client.submit({ command: ["sh", "-c", "exit 3"], retry });
  expect(await measured.client.wait(id)).toMatchObject({ state: "failed" });
  const grown = growth(before, await settled());
  expect(grown).toMatchObject({
    hodei_jobs_created_total: 1,
    hodei_jobs_queued_total: 2,
    'hodei_jobs_completed_total{status="failed"}': 1,
    'hodei_jobs_failed_total{error_type="exit_code"}': 1,
    [`hodei_job_duration_seconds_count${process}`]: 1,
    'hodei_attempts_total{event="finished"}': 2,
  });
});

test("a job that is cancelled is counted as such, one that runs is shown", async () => {
  const before = await settled();
  const { id } = await measured.client.submit({ command: ["sleep", "600"], cancelGraceMs: 500 });
  await vi.waitFor(
    async () => {
      const { values } = await measured.scrape();
      expect(values.get("hodei_jobs_running")).toBe(1);
      expect(values.get("hodei_workers_active")).toBe(1);
      expect(values.get("hodei_workers_connected")).toBe(1);
      expect(values.get('hodei_workers_total{provider="process",state="ready"}')).toBe(1);
    },
    { timeout: 20_000, interval: 100 },
  );
  await measured.client.cancel(id);
  expect(await measured.client.wait(id)).toMatchObject({ state: "cancelled" });
  const after = await settled();
  expect(growth(before, after)).toMatchObject({
    'hodei_jobs_completed_total{status="cancelled"}': 1,
    hodei_jobs_cancelled_total: 1,
  });
  expect(after.values.get("hodei_jobs_running")).toBe(0);
});

test("what waits is shown, a submit that comes again is counted once", async () => {
  const before = await settled();
  const spec = { command: ["true"], provider: { name: "nowhere", isStrict: true } };
  const { id } = await measured.client.submit(spec, { idempotencyKey: "once" });
  await measured.client.submit(spec, { idempotencyKey: "once" });
  const { values } = await measured.scrape();
  expect(values.get("hodei_queue_depth")).toBe(1);
  await measured.client.cancel(id);
  const after = await settled();
  expect(growth(before, after)).toMatchObject({
    hodei_jobs_created_total: 1,
    'hodei_job_duration_seconds_count{provider="none"}': 1,
  });
  expect(after.values.get("hodei_queue_depth")).toBe(0);
});
