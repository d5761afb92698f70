import type { JobState } from "#job/state.ts";
import { JobServiceService, type ListJobsRequest } from "#rpc/gen/hodei/v1/job_service.ts";
import { Admin } from "./admin.ts";
import { type CallOptions, Channel, type ChannelOptions } from "./channel.ts";
import {
  type Explanation,
  explanationFromWire,
  type Job,
  type JobEvent,
  jobFromWire,
  stateToWire,
} from "./job.ts";
import { type LogRecord, type LogsOptions, readLogs } from "./logs.ts";
import { given } from "./error.ts";
import { Audit, Tokens, Workers } from "./operations.ts";
import { Providers } from "./providers.ts";
import { allPages } from "./pages.ts";
import { specToWire, type SubmitSpec } from "./spec.ts";
import { type SubmitOptions, type SubmittedJob, Submitter } from "./submit.ts";
import { watchJob, type WatchOptions } from "./watch.ts";

export { HodeiClientError, type ClientErrorCode } from "./error.ts";
export { priorities } from "./priority.ts";
export type { SpecView, SubmitSpec } from "./spec.ts";
export type { ProviderSpec, ResourceSpec, RetrySpec, ScriptSpec } from "./spec.ts";
export type { Attempt, Explanation, Job, JobEvent, ProviderVerdict } from "./job.ts";
export type { LogRecord, LogRecordGap, LogsOptions } from "./logs.ts";
export type { SubmitOptions, SubmittedJob } from "./submit.ts";
export type { WatchOptions } from "./watch.ts";
export type { Admin, Backup } from "./admin.ts";
export type { CallOptions } from "./channel.ts";
export type { RetryOptions } from "./patience.ts";
export type {
  Audit,
  AuditEntry,
  AuditFilter,
  Role,
  Token,
  Tokens,
  TokenSpec,
  Worker,
  WorkerFilter,
  Workers,
  WorkerState,
} from "./operations.ts";
export type {
  NewProvider,
  Provider,
  ProviderCredentials,
  ProviderEvent,
  ProviderFilter,
  ProviderHealth,
  Providers,
  ProviderStats,
  ProviderTerms,
  ProviderUpdate,
  UnitPrices,
} from "./providers.ts";
export type { Blame, Cause, Failure, Stage } from "#job/failure.ts";
export type { Usage } from "#job/job.ts";
export type { AttemptState, JobState } from "#job/state.ts";
export type { LogCursor, LogStream } from "#log/record.ts";

/** Where the server is, who asks, and how long an outage is sat out. */
export type HodeiClientOptions = ChannelOptions;

/** Which jobs to list. All conditions must hold. */
export interface JobFilter extends CallOptions {
  readonly states?: readonly JobState[] | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Only for admins: of this tenant; `*` is all tenants. */
  readonly tenant?: string | undefined;
  /** Part of the name or id. */
  readonly text?: string | undefined;
  readonly submittedAfter?: Date | undefined;
  readonly submittedBefore?: Date | undefined;
}

export interface CancelOptions extends CallOptions {
  /** Why; kept in the job's history. */
  readonly reason?: string | undefined;
}

/**
 * A client of one server. It connects when it is first used; calls that may be repeated are, while the server cannot be reached.
 * Every method throws `HodeiClientError`. Disposing waits for the submits under way.
 */
export class HodeiClient implements AsyncDisposable {
  readonly workers: Workers;
  readonly providers: Providers;
  readonly tokens: Tokens;
  readonly audit: Audit;
  readonly admin: Admin;
  readonly #channel: Channel;
  readonly #submitter: Submitter;

  constructor(options: HodeiClientOptions) {
    this.#channel = new Channel(options);
    this.#submitter = new Submitter(this.#channel);
    this.workers = new Workers(this.#channel);
    this.providers = new Providers(this.#channel);
    this.tokens = new Tokens(this.#channel);
    this.audit = new Audit(this.#channel);
    this.admin = new Admin(this.#channel);
  }

  /** Resolves once the job is durable. All submits of one turn of the event loop travel together. */
  submit(spec: SubmitSpec, options: SubmitOptions = {}): Promise<SubmittedJob> {
    return this.#submitter.submit(spec, options);
  }

  get(jobId: string, options: CallOptions = {}): Promise<Job> {
    return this.#read(jobId, options);
  }

  /** Newest first; asks for the next page when it is needed. */
  async *list(filter: JobFilter = {}): AsyncGenerator<Job, void, undefined> {
    const wanted: Omit<ListJobsRequest, "pageSize" | "pageToken"> = {
      states: (filter.states ?? []).map(stateToWire),
      labels: filter.labels ?? {},
      tenant: filter.tenant ?? "",
      text: filter.text ?? "",
      submittedAfter: filter.submittedAfter,
      submittedBefore: filter.submittedBefore,
    };
    yield* allPages(async (page) => {
      const request = { ...wanted, ...page };
      const answer = await this.#channel.call(JobServiceService.listJobs, request, filter);
      return { items: answer.jobs.map(jobFromWire), next: answer.nextPageToken };
    });
  }

  /** Every event of the job from a place on, until its final one. */
  watch(jobId: string, options: WatchOptions = {}): AsyncGenerator<JobEvent, void, undefined> {
    return watchJob(this.#channel, jobId, options);
  }

  /** The job's log: what is there, and with `follow` what comes, until the log ends. */
  logs(jobId: string, options: LogsOptions = {}): AsyncGenerator<LogRecord, void, undefined> {
    return readLogs(this.#channel, jobId, options);
  }

  /** The job in its final state, once it has one. An outage is sat out, as a watch does. */
  async wait(jobId: string, options: CallOptions = {}): Promise<Job> {
    for (;;) {
      for await (const event of this.watch(jobId, options)) void event;
      const job = await this.#read(jobId, { ...options, patience: this.#channel.patience() });
      if (job.isFinal) return job;
    }
  }

  /** Asks for the job's end. A job that is over throws `FAILED_PRECONDITION`. */
  async cancel(jobId: string, options: CancelOptions = {}): Promise<Job> {
    const request = { jobId, reason: options.reason ?? "" };
    const { job } = await this.#channel.call(JobServiceService.cancelJob, request, options);
    return jobFromWire(given(job));
  }

  /** What the job waits for and how each provider was judged. */
  async explain(jobId: string, options: CallOptions = {}): Promise<Explanation> {
    const method = JobServiceService.explainJob;
    const request = { jobId, spec: undefined, tenant: "" };
    return explanationFromWire(await this.#channel.call(method, request, options));
  }

  /** What would become of this job if it were submitted now; nothing of it is kept. */
  async explainSpec(
    spec: SubmitSpec,
    options: CallOptions & Pick<SubmitOptions, "tenant"> = {},
  ): Promise<Explanation> {
    const { tenant = "", ...call } = options;
    const request = { jobId: "", spec: specToWire(spec), tenant };
    const method = JobServiceService.explainJob;
    return explanationFromWire(await this.#channel.call(method, request, call));
  }

  async #read(jobId: string, options: Parameters<Channel["call"]>[2]): Promise<Job> {
    const { job } = await this.#channel.call(JobServiceService.getJob, { jobId }, options);
    return jobFromWire(given(job));
  }

  /** Closes the connections; what is under way is rejected. */
  close(): void {
    this.#submitter.close();
    this.#channel.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#submitter.drain();
    this.close();
  }
}
