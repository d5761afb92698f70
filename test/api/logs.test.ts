import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { attemptIdOf, type JobId } from "#job/id.ts";
import { encodeBatch } from "#log/batch.ts";
import { JobSpec } from "#rpc/gen/hodei/v1/job.ts";
import { JobServiceClient, JobServiceService } from "#rpc/gen/hodei/v1/job_service.ts";
import {
  LogStreamServiceClient,
  LogStreamServiceService,
  type StreamLogsResponse,
} from "#rpc/gen/hodei/v1/log_service.ts";
import {
  adminToken,
  ask,
  bearer,
  clientOptions,
  collect,
  type Harness,
  insecure,
  startHarness,
} from "./harness.ts";

let harness: Harness;
let jobs: JobServiceClient;
let logs: LogStreamServiceClient;

beforeAll(async () => {
  harness = await startHarness();
  jobs = new JobServiceClient(harness.address, insecure, clientOptions);
  logs = new LogStreamServiceClient(harness.address, insecure, clientOptions);
});

afterAll(async () => {
  jobs.close();
  logs.close();
  await harness[Symbol.asyncDispose]();
});

describe("logs", () => {
  const line = (sequence: number, text: string) =>
    encodeBatch([
      {
        stream: "stdout",
        firstSequence: sequence,
        timeMicros: 1,
        timeOffsets: [],
        lengths: [text.length],
        data: Buffer.from(text),
        gap: undefined,
      },
    ]);

  async function startJob(): Promise<{ jobId: JobId; attemptId: ReturnType<typeof attemptIdOf> }> {
    const { jobId } = await ask(jobs, JobServiceService.submitJob, {
      spec: {
        ...JobSpec.decode(new Uint8Array()),
        command: ["true"],
        image: `image${Math.random().toString(36).slice(2)}`,
      },
      idempotencyKey: "",
      tenant: "",
    });
    const job = await harness.store.findJob(jobId as JobId);
    const attemptId = attemptIdOf(crypto.getRandomValues(new Uint8Array(17)));
    const id = `w${jobId.slice(1)}` as Parameters<typeof harness.store.findWorker>[0];
    const now = Date.now();
    await harness.store.planWorkers(
      [
        {
          id,
          provider: "p",
          classKey: job?.classKey ?? "",
          tenant: undefined,
          resourceName: "r",
          otpHash: new Uint8Array(32),
          otpExpiresAt: now + 60_000,
          startDeadline: now + 60_000,
          slots: 1,
          maxJobs: 1,
          isWarm: false,
          isForJobOnly: false,
        },
      ],
      now,
    );
    await harness.store.redeem(
      id,
      { otpHash: new Uint8Array(32), sessionHash: new Uint8Array(32).fill(1) },
      now,
    );
    await harness.store.claimNext(
      id,
      { count: 1, attemptIds: [attemptId], deadline: now + 60_000, bindsTenant: true },
      now,
    );
    return { jobId: jobId as JobId, attemptId };
  }

  async function finish({ jobId, attemptId }: Awaited<ReturnType<typeof startJob>>): Promise<void> {
    const now = Date.now();
    await harness.logs.end(attemptId, { expiresAt: now + 60_000 });
    await harness.store.finishAttempts(
      [
        {
          jobId,
          attemptId,
          outcome: {
            exitCode: 0,
            signal: undefined,
            failure: undefined,
            startedAt: now,
            endedAt: now,
            peak: undefined,
          },
          move: "succeed",
          next: { kind: "over", expiresAt: now + 60_000 },
          expiresAt: now + 60_000,
        },
      ],
      now,
    );
    harness.scheduler.watch.touch([jobId]);
  }

  const query = (jobId: string, follow: boolean, tailLines = 0) => ({
    jobId,
    cursor: undefined,
    follow,
    tailLines,
    stream: 0 as const,
    attempt: 0,
  });
  const textOf = (parts: readonly StreamLogsResponse[]) =>
    parts
      .flatMap((part) => part.batch?.chunks.map((chunk) => chunk.data.toString()) ?? [])
      .join("");

  test("follow from before the first attempt and end with the job", async () => {
    const job = await startJob();
    const stream = logs.streamLogs(query(job.jobId, true), bearer(adminToken));
    await harness.logs.append(job.attemptId, { number: 1, bytes: line(1, "one\n") });
    await harness.logs.append(job.attemptId, { number: 2, bytes: line(2, "two\n") });
    await finish(job);
    const parts = await collect<StreamLogsResponse>(stream);
    expect(textOf(parts)).toBe("one\ntwo\n");
    expect(parts.at(-1)).toMatchObject({ end: true, cursor: { attempt: 1, stdout: 2 } });
    expect(parts.at(-1)?.expiresAt).toBeInstanceOf(Date);
  });

  test("give a tail, pages of at least one record, and the rest from a cursor", async () => {
    const job = await startJob();
    for (const number of [1, 2, 3]) {
      await harness.logs.append(job.attemptId, { number, bytes: line(number, `line ${number}\n`) });
    }
    await finish(job);
    const tail = logs.streamLogs(query(job.jobId, false, 1), bearer(adminToken));
    expect(textOf(await collect<StreamLogsResponse>(tail))).toBe("line 3\n");

    const pageQuery = {
      jobId: job.jobId,
      cursor: undefined,
      maxBytes: 8,
      stream: 0 as const,
      attempt: 0,
    };
    const first = await ask(logs, LogStreamServiceService.getLogs, pageQuery);
    expect(textOf(first.parts)).toBe("line 1\n");
    expect(first.hasMore).toBe(true);
    const rest = await ask(logs, LogStreamServiceService.getLogs, {
      ...pageQuery,
      maxBytes: 0,
      cursor: first.cursor,
    });
    expect(textOf(rest.parts)).toBe("line 2\nline 3\n");
    expect(rest).toMatchObject({ hasMore: false, end: true });
  });
});
