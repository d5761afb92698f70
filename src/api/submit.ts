import { type ErrorCode, HodeiError } from "#error.ts";
import type { Call } from "#rpc/edge.ts";
import type {
  SubmitJobRequest,
  SubmitJobResponse,
  SubmitResult,
} from "#rpc/gen/hodei/v1/job_service.ts";
import type { Scheduler } from "#scheduler/scheduler.ts";
import type { JobStore, NewJob, SubmitOutcome } from "#store/store.ts";
import { admitJob, type AdmissionOptions } from "./admission.ts";
import type { Audit } from "./audit.ts";
import type { Caller } from "./authenticate.ts";
import { outcomeOf, statusCodes } from "./status.ts";

export interface SubmitterOptions extends AdmissionOptions {
  readonly store: Pick<JobStore, "submitJobs">;
  readonly scheduler: Pick<Scheduler, "jobsArrived">;
  readonly audit: Audit;
  readonly now: () => number;
  /** Throws while no new jobs are taken. */
  readonly checkOpen: () => void;
  readonly onSubmitted: (count: number) => void;
}

export type Submit = (
  requests: readonly SubmitJobRequest[],
  call: Call<Caller>,
) => Promise<SubmitResult[]>;

/** Accepts jobs, each for itself; resolves once they are durable. */
export function createSubmitter(options: SubmitterOptions): Submit {
  const { store, scheduler, audit, now } = options;
  return async (requests, call) => {
    options.checkOpen();
    const at = now();
    const admitted = requests.map((request) => admit(request, call, { ...options, now: at }));
    const jobs = admitted.filter((job): job is NewJob => !(job instanceof HodeiError));
    // The store and the scheduler hear of them in one turn, so that a claim for an idle worker shares the commit.
    const stored = jobs.length === 0 ? [] : store.submitJobs(jobs, at, audit.submitEntry(call));
    if (jobs.length > 0) scheduler.jobsArrived(new Set(jobs.map((job) => job.classKey)));
    const outcomes = await stored;
    options.onSubmitted(outcomes.filter(isNew).length);
    let next = 0;
    const results = admitted.map((job) => {
      if (job instanceof HodeiError) return refused(job);
      const outcome = outcomes[next++];
      if (outcome === undefined) throw new Error("the store answered too few jobs");
      return resultOf(outcome);
    });
    for (const { result } of results) {
      if (result?.$case === "accepted")
        call.log.info({ jobId: result.value.jobId }, "job submitted");
    }
    // What never reached the store is on record all the same.
    const first = admitted[0];
    if (jobs.length === 0 && first !== undefined) {
      await audit.record(call, { target: "", outcome: outcomeOf(first) });
    }
    return results;
  };
}

/** The job of a result, or the error that a call for one job ends with. */
export function acceptedOf(result: SubmitResult | undefined): SubmitJobResponse {
  if (result?.result === undefined) throw new Error("a job without a result");
  if (result.result.$case === "accepted") return result.result.value;
  const { code, message } = result.result.value;
  const found = Object.entries(statusCodes).find(([, known]) => known === code);
  throw new HodeiError((found?.[0] ?? "unavailable") as ErrorCode, message);
}

function admit(
  request: SubmitJobRequest,
  call: Call<Caller>,
  options: AdmissionOptions & { readonly now: number },
): NewJob | HodeiError {
  try {
    return admitJob(request, call, options);
  } catch (error) {
    if (error instanceof HodeiError) return error;
    throw error;
  }
}

function isNew(outcome: SubmitOutcome): boolean {
  return outcome.kind === "accepted" && !outcome.alreadyExisted;
}

function resultOf(outcome: SubmitOutcome): SubmitResult {
  switch (outcome.kind) {
    case "accepted": {
      const { id, version, alreadyExisted } = outcome;
      const value: SubmitJobResponse = { jobId: id, version, alreadyExisted };
      return { result: { $case: "accepted", value } };
    }
    case "conflict": {
      const text = `idempotency_key: belongs to job ${outcome.id}, which has another spec`;
      return refused(new HodeiError("already_exists", text));
    }
    case "quota": {
      const text = `the tenant has ${outcome.queued} queued jobs, which is its limit`;
      return refused(new HodeiError("resource_exhausted", text));
    }
  }
}

function refused(error: HodeiError): SubmitResult {
  const value = { code: statusCodes[error.code], message: error.message };
  return { result: { $case: "refused", value } };
}
