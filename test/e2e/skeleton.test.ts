import { credentials, Metadata } from "@grpc/grpc-js";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseConfig } from "#config.ts";
import { channelOptions } from "#rpc/channel.ts";
import { type JobEvent, JobSpec, JobState } from "#rpc/gen/hodei/v1/job.ts";
import { JobServiceClient, JobServiceService } from "#rpc/gen/hodei/v1/job_service.ts";
import { LogStreamServiceClient, type StreamLogsResponse } from "#rpc/gen/hodei/v1/log_service.ts";
import { type Server, startServer } from "#server.ts";
import { createLogger } from "#telemetry.ts";
import { ask, collect } from "../api/harness.ts";

const directory = mkdtempSync(join(tmpdir(), "hodei-skeleton-"));
let server: Server;
let jobs: JobServiceClient;
let logs: LogStreamServiceClient;

beforeAll(async () => {
  const { config } = parseConfig({
    HODEI_LISTEN_ADDRESS: "127.0.0.1:0",
    HODEI_HTTP_ADDRESS: "127.0.0.1:0",
    HODEI_DATA_DIRECTORY: join(directory, "data"),
    HODEI_DRAIN_TIMEOUT_MS: "500",
  });
  server = await startServer(
    config,
    createLogger(process.env["HODEI_TEST_LOG"] === "1" ? "debug" : "error"),
  );
  jobs = new JobServiceClient(server.address, credentials.createInsecure(), channelOptions());
  logs = new LogStreamServiceClient(server.address, credentials.createInsecure(), channelOptions());
});

afterAll(async () => {
  jobs.close();
  logs.close();
  await server[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

async function run(
  spec: Partial<JobSpec>,
): Promise<{ jobId: string; output: string; events: JobEvent[] }> {
  const full = { ...JobSpec.decode(new Uint8Array()), ...spec };
  const request = { spec: full, idempotencyKey: "", tenant: "" };
  const { jobId } = await ask(jobs, JobServiceService.submitJob, request, new Metadata());
  const watch = collect<{ event: JobEvent | undefined }>(
    jobs.watchJob({ jobId, afterSequence: 0 }),
  );
  const query = {
    jobId,
    cursor: undefined,
    follow: true,
    tailLines: 0,
    stream: 0,
    attempt: 0,
  } as const;
  const parts = await collect<StreamLogsResponse>(logs.streamLogs(query));
  const text = (stream: number): string =>
    parts
      .flatMap((part) => part.batch?.chunks ?? [])
      .filter((chunk) => chunk.stream === stream)
      .map((chunk) => chunk.data.toString())
      .join("");
  expect(parts.at(-1)?.end).toBe(true);
  const events = (await watch).flatMap(({ event }) => event ?? []);
  return { jobId, output: text(1), events };
}

test("a job runs on a worker that dialled back, and its log comes home", async () => {
  const { jobId, output, events } = await run({
    command: ["sh", "-c", "echo hello; echo $GREETING"],
    env: { GREETING: "hi" },
  });
  expect(output).toBe("hello\nhi\n");
  expect(events.at(-1)?.state).toBe(JobState.JOB_STATE_SUCCEEDED);
  const versions = events.map((event) => event.version);
  expect(versions).toEqual(versions.toSorted((a, b) => a - b));
  const { job } = await ask(jobs, JobServiceService.getJob, { jobId }, new Metadata());
  expect(job).toMatchObject({ state: JobState.JOB_STATE_SUCCEEDED, exitCode: 0 });
});

test("a job's own exit code is its outcome", async () => {
  const { jobId, events } = await run({ command: ["sh", "-c", "exit 3"] });
  expect(events.at(-1)?.state).toBe(JobState.JOB_STATE_FAILED);
  const { job } = await ask(jobs, JobServiceService.getJob, { jobId }, new Metadata());
  expect(job).toMatchObject({ exitCode: 3, failure: { userCodeMayHaveRun: true } });
});

test("the server says that it is ready, and what it did", async () => {
  const ready = await fetch(`http://${server.httpAddress}/health/ready`);
  expect(ready.status).toBe(200);
  const metrics = await (await fetch(`http://${server.httpAddress}/metrics`)).text();
  expect(metrics).toContain('hodei_jobs_completed_total{status="succeeded"} 1');
});
