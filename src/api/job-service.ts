import { HodeiError, invalid } from "#error.ts";
import { isJobId } from "#job/id.ts";
import type { Job } from "#job/job.ts";
import { isFinal } from "#job/state.ts";
import { JobSpec as WireSpec } from "#rpc/gen/hodei/v1/job.ts";
import type { JobServiceService, ListJobsRequest } from "#rpc/gen/hodei/v1/job_service.ts";
import type { Handlers } from "#rpc/serve.ts";
import type { Scheduler } from "#scheduler/scheduler.ts";
import type { JobStore } from "#store/store.ts";
import { admitJob, tenantFor } from "./admission.ts";
import type { Caller } from "./authenticate.ts";
import {
  eventToWire,
  explanationToWire,
  jobStateFromWire,
  jobToWire,
  shortSpec,
} from "./convert.ts";
import type { Gate } from "./gate.ts";
import { acceptedOf, createSubmitter, type SubmitterOptions } from "./submit.ts";
import { submitBatches } from "./submit-batches.ts";
import { checkText, pageSizeOf, pageTokenOf, specLimits } from "./validate.ts";

type JobVerbs = "jobsArrived" | "cancelJob" | "explainJob" | "explainWish" | "watch";

export interface JobServiceOptions extends SubmitterOptions {
  readonly store: Pick<JobStore, "submitJobs" | "findJob" | "listJobs">;
  readonly scheduler: Pick<Scheduler, JobVerbs>;
  readonly watches: Gate;
}

/** Submits jobs and follows their lives. */
export function jobService(options: JobServiceOptions): Handlers<typeof JobServiceService, Caller> {
  const { store, scheduler, audit } = options;
  const submit = createSubmitter(options);

  return {
    async submitJob(request, call) {
      const [result] = await submit([request], call);
      return acceptedOf(result);
    },

    submitJobs: async (requests, call, write) =>
      submitBatches(requests, write, async (jobs) => submit(jobs, call)),

    async getJob(request, call) {
      const job = await getOwnJob(store, request.jobId, call.caller);
      return { job: jobToWire(job, WireSpec.decode(job.spec)) };
    },

    async listJobs(request, call) {
      const page = await store.listJobs(queryOf(request, call.caller));
      return {
        jobs: page.rows.map((job) => jobToWire(job, shortSpec(WireSpec.decode(job.spec)))),
        nextPageToken: page.nextPageToken ?? "",
      };
    },

    async watchJob(request, call, write) {
      const job = await getOwnJob(store, request.jobId, call.caller);
      const after = request.afterSequence;
      if (after < 0) throw new HodeiError("invalid_argument", "after_sequence: is negative");
      using _place = options.watches.enter();
      for await (const event of scheduler.watch.follow(job.id, after, call.signal)) {
        await write({ event: eventToWire(event) });
      }
    },

    cancelJob: async (request, call) =>
      audit.around(call, request.jobId, async () => {
        checkText("reason", request.reason, specLimits.reasonCharacters);
        const { id, state } = await getOwnJob(store, request.jobId, call.caller);
        if (isFinal(state)) throw new HodeiError("failed_precondition", `job ${id} is ${state}`);
        const { reason } = request;
        const job = await scheduler.cancelJob(id, { reason, actor: call.caller.subject });
        return { job: jobToWire(job, WireSpec.decode(job.spec)) };
      }),

    async explainJob(request, call) {
      const { jobId, spec, tenant } = request;
      if (spec !== undefined) {
        if (jobId !== "") throw invalid("spec", "stands beside a job_id");
        const given = { spec, tenant, idempotencyKey: "" };
        const job = admitJob(given, call, { ...options, now: options.now() });
        return explanationToWire("queued", await scheduler.explainWish(job));
      }
      const job = await getOwnJob(store, jobId, call.caller);
      return explanationToWire(job.state, await scheduler.explainJob(job));
    },
  };
}

/** A job that the caller may see. Error: `not_found`, the same for no job and for another tenant's (DESIGN G16). */
export async function getOwnJob(
  store: Pick<JobStore, "findJob">,
  id: string,
  caller: Caller,
): Promise<Job> {
  const job = isJobId(id) ? await store.findJob(id) : undefined;
  if (job === undefined || (job.tenant !== caller.tenant && caller.role !== "admin")) {
    throw new HodeiError("not_found", `there is no job ${id.slice(0, 64)}`);
  }
  return job;
}

function queryOf(request: ListJobsRequest, caller: Caller): Parameters<JobStore["listJobs"]>[0] {
  checkText("text", request.text, 256);
  if (Object.keys(request.labels).length > specLimits.labels) {
    throw new HodeiError("invalid_argument", `labels: more than ${specLimits.labels}`);
  }
  const isForAll = request.tenant === "*" && caller.role === "admin";
  return {
    tenant: isForAll ? undefined : tenantFor(caller, request.tenant),
    states: request.states.map((state) => {
      const known = jobStateFromWire(state);
      if (known === undefined) throw new HodeiError("invalid_argument", "states: unknown state");
      return known;
    }),
    labels: request.labels,
    text: request.text,
    submittedAfter: request.submittedAfter?.getTime(),
    submittedBefore: request.submittedBefore?.getTime(),
    pageSize: pageSizeOf(request.pageSize),
    pageToken: pageTokenOf(request.pageToken),
  };
}
