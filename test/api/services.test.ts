import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JobId } from "#job/id.ts";
import {
  AuditServiceClient,
  AuditServiceService,
  type AuditEntry,
} from "#rpc/gen/hodei/v1/audit_service.ts";
import { type JobEvent, JobSpec, JobState } from "#rpc/gen/hodei/v1/job.ts";
import {
  type ExplainJobRequest,
  JobServiceClient,
  JobServiceService,
  ListJobsRequest,
  SubmitJobRequest,
  type SubmitJobsResponse,
} from "#rpc/gen/hodei/v1/job_service.ts";
import { CircuitState } from "#rpc/gen/hodei/v1/provider_service.ts";
import { Role, TokenServiceClient, TokenServiceService } from "#rpc/gen/hodei/v1/token_service.ts";
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
let tokens: TokenServiceClient;
let audit: AuditServiceClient;
const empty = JobSpec.decode(new Uint8Array());
const request = (
  spec: Partial<JobSpec>,
  more: Partial<SubmitJobRequest> = {},
): SubmitJobRequest => ({
  ...SubmitJobRequest.decode(new Uint8Array()),
  spec: { ...empty, command: ["true"], ...spec },
  ...more,
});

beforeAll(async () => {
  harness = await startHarness();
  jobs = new JobServiceClient(harness.address, insecure, clientOptions);
  tokens = new TokenServiceClient(harness.address, insecure, clientOptions);
  audit = new AuditServiceClient(harness.address, insecure, clientOptions);
});

afterAll(async () => {
  for (const client of [jobs, tokens, audit]) client.close();
  await harness[Symbol.asyncDispose]();
});

async function submit(spec: Partial<JobSpec> = {}, more: Partial<SubmitJobRequest> = {}) {
  return ask(jobs, JobServiceService.submitJob, request(spec, more));
}

async function makeToken(role: Role, tenant = "default"): Promise<{ id: string; secret: string }> {
  const made = await ask(tokens, TokenServiceService.createToken, {
    subject: "sue",
    tenant,
    role,
    ttl: undefined,
  });
  return { id: made.token?.id ?? "", secret: made.secret };
}

async function auditOf(filter: { correlationId?: string; target?: string }): Promise<AuditEntry[]> {
  const query = { correlationId: "", actor: "", target: "", pageSize: 0, pageToken: "", ...filter };
  return (await ask(audit, AuditServiceService.listAuditEntries, query)).entries;
}

describe("explaining a job that is not submitted", () => {
  const explain = (more: Partial<ExplainJobRequest>) =>
    ask(jobs, JobServiceService.explainJob, { jobId: "", spec: undefined, tenant: "", ...more });

  test("says how each provider was judged, and keeps nothing", async () => {
    const spec = { ...empty, command: ["true"], name: "never" };
    const answer = await explain({ spec });
    expect(answer).toMatchObject({
      state: JobState.JOB_STATE_QUEUED,
      summary: "a job of default",
      providers: [
        {
          provider: "process",
          eligible: true,
          parts: { cost: 1, health: 0 },
          pricePerHour: 2.5,
          expectedStart: { seconds: 1, nanos: 500_000_000 },
          circuit: CircuitState.CIRCUIT_STATE_HALF_OPEN,
        },
      ],
    });
    const query = ListJobsRequest.decode(new Uint8Array());
    const listed = await ask(jobs, JobServiceService.listJobs, { ...query, text: "never" });
    expect(listed.jobs).toEqual([]);
  });

  test("refuses what a submit would refuse, and both ways at once", async () => {
    await expect(explain({ spec: empty })).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
    const spec = { ...empty, command: ["true"] };
    await expect(explain({ spec, jobId: "j" })).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
  });
});

describe("submitting", () => {
  test("gives back the normalized spec", async () => {
    const { jobId, version } = await submit({ name: "one", labels: { a: "b" } });
    const { job } = await ask(jobs, JobServiceService.getJob, { jobId });
    expect(job).toMatchObject({
      id: jobId,
      version,
      state: JobState.JOB_STATE_QUEUED,
      tenant: "default",
    });
    expect(job?.spec?.executionTimeout).toEqual({ seconds: 3600, nanos: 0 });
  });

  test("wakes the scheduler with the class of the job", async () => {
    harness.woken.length = 0;
    await submit({ image: "busybox" });
    expect([...(harness.woken[0] ?? [])]).toHaveLength(1);
  });

  test("answers the same job for the same key, whatever the order of its maps", async () => {
    const more = { idempotencyKey: "k1" };
    const first = await submit({ env: { A: "1", B: "2" } }, more);
    const second = await submit({ env: { B: "2", A: "1" } }, more);
    expect(second).toMatchObject({ jobId: first.jobId, alreadyExisted: true });
    await expect(submit({ name: "other" }, more)).rejects.toMatchObject({
      code: status.ALREADY_EXISTS,
      details: expect.stringContaining(first.jobId),
    });
  });

  test("names the wrong field", async () => {
    await expect(submit({ command: [] })).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(/^spec\.command: /),
    });
  });

  test("answers batches item by item", async () => {
    const stream = jobs.submitJobs(bearer(adminToken));
    stream.write({ batch: 7, jobs: [request({}), request({ priority: 5000 })] });
    stream.write({ batch: 8, jobs: [request({})] });
    stream.end();
    const answers = await collect<SubmitJobsResponse>(stream);
    const byBatch = new Map(answers.map((answer) => [answer.batch, answer.results]));
    expect(byBatch.get(7)?.map((item) => item.result?.$case)).toEqual(["accepted", "refused"]);
    expect(byBatch.get(8)?.map((item) => item.result?.$case)).toEqual(["accepted"]);
  });

  test("what was refused is audited with its reason", async () => {
    const { secret } = await makeToken(Role.ROLE_SUBMITTER);
    const metadata = bearer(secret);
    metadata.set("x-correlation-id", "not-mine");
    const wish = request({}, { tenant: "another" });
    await expect(ask(jobs, JobServiceService.submitJob, wish, metadata)).rejects.toMatchObject({
      code: status.PERMISSION_DENIED,
    });
    expect(await auditOf({ correlationId: "not-mine" })).toMatchObject([
      { action: "SubmitJob", actor: "sue", outcome: "PERMISSION_DENIED" },
    ]);
  });

  test("refuses a message beyond its limit", async () => {
    await expect(submit({ stdin: Buffer.alloc(1024 * 1024 + 10) })).rejects.toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
    });
  });

  test("carries the correlation id to the job and the audit", async () => {
    const metadata = bearer(adminToken);
    metadata.set("x-correlation-id", "my-build-1");
    const { jobId } = await ask(jobs, JobServiceService.submitJob, request({}), metadata);
    const { job } = await ask(jobs, JobServiceService.getJob, { jobId });
    expect(job?.correlationId).toBe("my-build-1");
    expect(await auditOf({ correlationId: "my-build-1" })).toMatchObject([
      { action: "SubmitJob", actor: "admin", target: jobId, outcome: "OK" },
    ]);
  });
});

describe("reading and cancelling", () => {
  test("pages through a list without secrets", async () => {
    await submit({ name: "listed", env: { SECRET: "s" } });
    await submit({ name: "listed" });
    const query = {
      states: [],
      labels: {},
      tenant: "",
      text: "listed",
      submittedAfter: undefined,
      submittedBefore: undefined,
      pageSize: 1,
      pageToken: "",
    };
    const first = await ask(jobs, JobServiceService.listJobs, query);
    const second = await ask(jobs, JobServiceService.listJobs, {
      ...query,
      pageToken: first.nextPageToken,
    });
    expect(second.jobs[0]?.spec).toMatchObject({ name: "listed", env: {} });
    expect(second.jobs[0]?.id).not.toBe(first.jobs[0]?.id);
    await expect(
      ask(jobs, JobServiceService.listJobs, { ...query, pageSize: 501 }),
    ).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
    });
    await expect(
      ask(jobs, JobServiceService.listJobs, { ...query, pageToken: "forged!" }),
    ).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });

  test("cancels once, watches to the end and audits both outcomes", async () => {
    const { jobId } = await submit();
    const watch = jobs.watchJob({ jobId, afterSequence: 0 }, bearer(adminToken));
    const cancel = { jobId, reason: "enough" };
    const { job } = await ask(jobs, JobServiceService.cancelJob, cancel);
    expect(job?.state).toBe(JobState.JOB_STATE_CANCELLED);
    await expect(ask(jobs, JobServiceService.cancelJob, cancel)).rejects.toMatchObject({
      code: status.FAILED_PRECONDITION,
    });
    const events: (JobEvent | undefined)[] = [];
    for await (const { event } of watch as AsyncIterable<{ event?: JobEvent }>) events.push(event);
    expect(events.at(-1)?.state).toBe(JobState.JOB_STATE_CANCELLED);
    const outcomes = (await auditOf({ target: jobId })).map((entry) => entry.outcome);
    expect(outcomes).toEqual(["FAILED_PRECONDITION", "OK", "OK"]);
  });

  test("answers the same for no job and for another tenant's", async () => {
    const { jobId } = await submit();
    const { secret } = await makeToken(Role.ROLE_SUBMITTER, "other");
    const missing = "j00000000000";
    const messages = [jobId, missing].map(async (id) => {
      const error: unknown = await ask(
        jobs,
        JobServiceService.getJob,
        { jobId: id },
        bearer(secret),
      ).catch((caught: unknown) => caught);
      return String((error as { details: string }).details).replace(id, "ID");
    });
    const [foreign, none] = await Promise.all(messages);
    expect(foreign).toBe(none);
  });

  test("lets nobody but an admin name a tenant", async () => {
    const { secret } = await makeToken(Role.ROLE_OPERATOR);
    await expect(
      ask(jobs, JobServiceService.submitJob, request({}, { tenant: "other" }), bearer(secret)),
    ).rejects.toMatchObject({ code: status.PERMISSION_DENIED });
    const { jobId } = await submit({}, { tenant: "other" });
    expect((await harness.store.findJob(jobId as JobId))?.tenant).toBe("other");
  });
});

test("a revoked token is worthless at once", async () => {
  const { id, secret } = await makeToken(Role.ROLE_VIEWER);
  const { jobId } = await submit();
  await ask(jobs, JobServiceService.getJob, { jobId }, bearer(secret));
  await ask(tokens, TokenServiceService.revokeToken, { tokenId: id });
  await expect(
    ask(jobs, JobServiceService.getJob, { jobId }, bearer(secret)),
  ).rejects.toMatchObject({
    code: status.UNAUTHENTICATED,
  });
});
