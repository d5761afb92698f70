import {
  type handleServerStreamingCall,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  status,
} from "@grpc/grpc-js";
import {
  Job,
  JobEvent,
  type JobSpec,
  JobState,
  Stage,
  type Failure,
} from "#rpc/gen/hodei/v1/job.ts";
import {
  ExplainJobResponse,
  JobServiceService,
  type JobServiceServer,
  type SubmitJobRequest,
  type SubmitJobsRequest,
  type SubmitJobsResponse,
  type SubmitResult,
  type WatchJobRequest,
  type WatchJobResponse,
} from "#rpc/gen/hodei/v1/job_service.ts";
import {
  type LogChunk,
  LogStreamServiceService,
  type LogStreamServiceServer,
  type LogCursor,
  type StreamLogsRequest,
  type StreamLogsResponse,
} from "#rpc/gen/hodei/v1/log_service.ts";
import { breakOff, fail } from "./call-failures.ts";
import { verdict } from "./verdict.ts";

/** What a job does: its log, and how it ends. */
export interface Play {
  readonly logs?: readonly StreamLogsResponse[];
  /** States that it passes through; the last one is where it ends, or waits to be cancelled. */
  readonly states?: readonly JobState[];
  readonly exitCode?: number;
  readonly failure?: Failure;
  /** What goes wrong while it waits. */
  readonly troubles?: readonly Failure[];
}

export interface FakeJobServerOptions {
  readonly port?: number;
  readonly play?: (spec: JobSpec) => Play;
  /** Refuses a job instead of taking it. */
  readonly refuse?: (request: SubmitJobRequest) => { code: number; message: string } | undefined;
}

interface FakeJob {
  readonly job: Job;
  readonly events: JobEvent[];
  readonly play: Play;
  readonly wake: Set<() => void>;
}

/** A server of jobs and logs that plays what a test tells it to. */
export class FakeJobServer implements AsyncDisposable {
  readonly jobs = new Map<string, FakeJob>();
  /** Every batch that arrived. */
  readonly batches: SubmitJobsRequest[] = [];
  readonly watches: WatchJobRequest[] = [];
  readonly follows: StreamLogsRequest[] = [];
  readonly metadata: Record<string, unknown>[] = [];
  /** Streams break after so many messages; counted down. Batches break before their answer, yet after their jobs were made. */
  readonly breaks = { submits: 0, unansweredCalls: 0, messagesBeforeBreak: Infinity };
  ignoresCancel = false;
  readonly #keys = new Map<string, string>();
  readonly #options: FakeJobServerOptions;
  readonly #server = new Server({ "grpc.max_receive_message_length": 1024 * 1024 });
  address = "";

  constructor(options: FakeJobServerOptions) {
    this.#options = options;
    const jobService: Partial<JobServiceServer> = {
      submitJob: (_call, callback) => callback({ code: status.UNIMPLEMENTED }),
      submitJobs: (call: ServerDuplexStream<SubmitJobsRequest, SubmitJobsResponse>) => {
        this.metadata.push(call.metadata.getMap());
        call.on("error", () => undefined);
        call.on("end", () => call.end());
        call.on("data", (batch: SubmitJobsRequest) => {
          this.batches.push(batch);
          const results = batch.jobs.map((request) => this.#submit(request));
          if (this.breaks.submits > 0) {
            this.breaks.submits--;
            return breakOff(call);
          }
          call.write({ batch: batch.batch, results });
        });
      },
      getJob: ({ request }, callback) => {
        if (this.breaks.unansweredCalls > 0) {
          this.breaks.unansweredCalls--;
          callback({ code: status.UNAVAILABLE, details: "broken on purpose" });
          return;
        }
        const found = this.jobs.get(request.jobId);
        if (found === undefined) callback({ code: status.NOT_FOUND, details: "no such job" });
        else callback(null, { job: found.job });
      },
      listJobs: ({ request }, callback) => {
        const all = [...this.jobs.values()].map(({ job }) => job).toReversed();
        const from = Number(request.pageToken || 0);
        const next = from + 2 < all.length ? String(from + 2) : "";
        callback(null, { jobs: all.slice(from, from + 2), nextPageToken: next });
      },
      cancelJob: ({ request }, callback) => {
        const found = this.jobs.get(request.jobId);
        if (found === undefined) {
          callback({ code: status.NOT_FOUND, details: "no such job" });
          return;
        }
        if (!this.ignoresCancel) this.move(request.jobId, JobState.JOB_STATE_CANCELLED);
        callback(null, { job: found.job });
      },
      explainJob: (_call, callback) => {
        const answer = ExplainJobResponse.decode(new Uint8Array());
        callback(null, {
          ...answer,
          state: 1,
          stage: 1,
          summary: "no worker is free",
          jobsAhead: 3,
          providers: [verdict({ provider: "b", rank: 2 }), verdict({ provider: "a", rank: 1 })],
        });
      },
      watchJob: (call) => void this.#watch(call),
    };
    const logService: Partial<LogStreamServiceServer> = {
      streamLogs: (call) => void this.#follow(call),
    };
    this.#server.addService(JobServiceService, jobService as JobServiceServer);
    this.#server.addService(LogStreamServiceService, logService as LogStreamServiceServer);
  }

  async start(): Promise<this> {
    const wanted = `127.0.0.1:${this.#options.port ?? 0}`;
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(wanted, ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
    this.address = `127.0.0.1:${port}`;
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    await Promise.resolve();
  }

  /** Adds an event that moves a job to a state. */
  move(jobId: string, state: JobState): void {
    const found = this.jobs.get(jobId);
    if (found === undefined) return;
    const { job, events, play, wake } = found;
    job.state = state;
    job.version++;
    if (isOver(state)) {
      job.endedAt = new Date();
      job.exitCode = play.exitCode;
      job.failure = play.failure;
    }
    const troubles = state === JobState.JOB_STATE_QUEUED ? (play.troubles ?? []) : [];
    for (const failure of [undefined, ...troubles]) {
      events.push({
        ...JobEvent.decode(new Uint8Array()),
        sequence: events.length + 1,
        version: job.version,
        at: new Date(),
        state,
        stage: Stage.STAGE_RUNNING,
        message: `moved to ${state}`,
        failure,
      });
    }
    for (const step of Array.from(wake)) step();
  }

  #submit(request: SubmitJobRequest): SubmitResult {
    const refused = this.#options.refuse?.(request);
    if (refused !== undefined) return { result: { $case: "refused", value: refused } };
    const known = this.#keys.get(request.idempotencyKey);
    if (known !== undefined) return accepted(known, true);
    const id = `j${this.jobs.size + 1}`;
    if (request.idempotencyKey !== "") this.#keys.set(request.idempotencyKey, id);
    const spec = request.spec ?? Job.decode(new Uint8Array()).spec;
    const play = (spec && this.#options.play?.(spec)) ?? {};
    const job = { ...Job.decode(new Uint8Array()), id, tenant: "default", spec, version: 0 };
    this.jobs.set(id, {
      job: { ...job, submittedAt: new Date() },
      events: [],
      play,
      wake: new Set(),
    });
    const states = play.states ?? [JobState.JOB_STATE_QUEUED, JobState.JOB_STATE_SUCCEEDED];
    for (const state of states) this.move(id, state);
    return accepted(id, false);
  }

  async #watch(call: Parameters<handleServerStreamingCall<WatchJobRequest, WatchJobResponse>>[0]) {
    this.watches.push(call.request);
    const found = this.jobs.get(call.request.jobId);
    if (found === undefined) return fail(call, status.NOT_FOUND, "no such job");
    let at = call.request.afterSequence;
    let sent = 0;
    for (;;) {
      for (; at < found.events.length; at++) {
        if (sent++ >= this.breaks.messagesBeforeBreak) return breakOff(call);
        call.write({ event: found.events[at] });
      }
      if (isOver(found.job.state)) break;
      if ((await this.#change(found, call)) === "gone") return;
    }
    call.end();
  }

  async #follow(
    call: Parameters<handleServerStreamingCall<StreamLogsRequest, StreamLogsResponse>>[0],
  ) {
    this.follows.push(call.request);
    const found = this.jobs.get(call.request.jobId);
    if (found === undefined) return fail(call, status.NOT_FOUND, "no such job");
    let sent = 0;
    for (const part of found.play.logs ?? []) {
      if (isBehind(part, call.request.cursor)) continue;
      if (sent++ >= this.breaks.messagesBeforeBreak) return breakOff(call);
      call.write(part);
    }
    while (call.request.follow && !isOver(found.job.state)) {
      if ((await this.#change(found, call)) === "gone") return;
    }
    call.write(part({ end: true, attempt: 1, cursor: call.request.cursor }));
    call.end();
  }

  #change(
    { wake }: FakeJob,
    call: { once: (event: "cancelled", listener: () => void) => unknown },
  ): Promise<"changed" | "gone"> {
    return new Promise((resolve) => {
      const step = (): void => {
        wake.delete(step);
        resolve("changed");
      };
      wake.add(step);
      call.once("cancelled", () => {
        wake.delete(step);
        resolve("gone");
      });
    });
  }
}

export function startFakeJobServer(options: FakeJobServerOptions = {}): Promise<FakeJobServer> {
  return new FakeJobServer(options).start();
}

/** A part of a log with one chunk of lines. */
export function lines(stream: 1 | 2 | 3, firstSequence: number, texts: readonly string[]) {
  const data = texts.map((text) => Buffer.from(text, "latin1"));
  const chunk: LogChunk = {
    stream,
    firstSequence,
    timeMicros: 1_700_000_000_000_000,
    timeOffsets: [],
    lengths: data.map(({ length }) => length),
    data: Buffer.concat(data),
    gap: undefined,
  };
  return part({ batch: { chunks: [chunk] } });
}

export function gap(stream: 1 | 2 | 3, firstSequence: number, records: number): StreamLogsResponse {
  const chunk: LogChunk = {
    stream,
    firstSequence,
    timeMicros: 1_700_000_000_000_000,
    timeOffsets: [],
    lengths: [],
    data: Buffer.alloc(0),
    gap: { records, bytes: 2048, reason: 1 },
  };
  return part({ batch: { chunks: [chunk] } });
}

function part(fields: Partial<StreamLogsResponse>): StreamLogsResponse {
  return {
    attempt: 1,
    attemptId: "a1",
    batch: undefined,
    cursor: undefined,
    end: false,
    expiresAt: undefined,
    ...fields,
  };
}

/** Whether every record of a part was seen; a part that was seen in half is sent again, whole. */
function isBehind({ batch }: StreamLogsResponse, cursor: LogCursor | undefined): boolean {
  if (cursor === undefined) return false;
  const seen = [0, cursor.stdout, cursor.stderr, cursor.system];
  return (batch?.chunks ?? []).every((chunk) => {
    const records = Math.max(chunk.lengths.length, chunk.gap?.records ?? 0);
    return chunk.firstSequence + records - 1 <= (seen[chunk.stream] ?? 0);
  });
}

function accepted(jobId: string, alreadyExisted: boolean): SubmitResult {
  return { result: { $case: "accepted", value: { jobId, version: 1, alreadyExisted } } };
}

function isOver(state: JobState): boolean {
  return state >= JobState.JOB_STATE_SUCCEEDED;
}
