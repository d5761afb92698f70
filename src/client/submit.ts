import type { ClientDuplexStream } from "@grpc/grpc-js";
import {
  JobServiceService,
  SubmitJobRequest,
  type SubmitJobsResponse,
  type SubmitResult,
} from "#rpc/gen/hodei/v1/job_service.ts";
import { batchLimits, encodeBatch, framedBytes } from "./batch.ts";
import { type Channel, isConnectFailure } from "./channel.ts";
import { abortedError, HodeiClientError, isTransient, statusError } from "./error.ts";
import type { Patience } from "./patience.ts";
import { specToWire, type SubmitSpec } from "./spec.ts";

export interface SubmitOptions {
  /**
   * With the same key and spec the same job is answered. Without one the client makes a random key, so that a submit that is
   * repeated after an outage never makes a second job; `false` goes without.
   */
  readonly idempotencyKey?: string | false | undefined;
  /** Only for admins: the tenant to submit for. */
  readonly tenant?: string | undefined;
  /** Gives up waiting; the job may have been accepted. */
  readonly signal?: AbortSignal | undefined;
}

/** A job that the server has accepted. */
export interface SubmittedJob {
  readonly id: string;
  readonly version: number;
  /** Whether an earlier submit with the same idempotency key had already made it. */
  readonly alreadyExisted: boolean;
}

/** A submit that waits for its answer. */
interface Pending {
  readonly bytes: Uint8Array;
  readonly hasKey: boolean;
  /** Gives the caller its answer; what comes later is dropped. */
  readonly settle: (answer: SubmittedJob | HodeiClientError) => void;
  isSettled: boolean;
  /** Whether the server may have got it, on a stream that broke. */
  mayHaveArrived: boolean;
}

type SubmitCall = ClientDuplexStream<Buffer, SubmitJobsResponse>;

/** Batches on their way, and bytes that may wait, before more submits are refused. */
const limits = { inFlightBatches: 16, waitingBytes: 256 * 1024 * 1024, idleMs: 500 } as const;

/** Gathers all submits of one turn of the event loop into as few messages as possible, on one stream. */
export class Submitter {
  readonly #channel: Channel;
  readonly #patience: Patience;
  readonly #keyPrefix = `sdk-${crypto.randomUUID()}-`;
  #keys = 0;
  #waiting: Pending[] = [];
  #waitingBytes = 0;
  readonly #inFlight = new Map<number, readonly Pending[]>();
  #batches = 0;
  #call: SubmitCall | undefined;
  #isFlushPlanned = false;
  #pause: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  #isClosed = false;
  #drained: (() => void)[] = [];

  constructor(channel: Channel) {
    this.#channel = channel;
    this.#patience = channel.patience();
  }

  submit(spec: SubmitSpec, options: SubmitOptions): Promise<SubmittedJob> {
    return new Promise((resolve, reject) => {
      const { signal } = options;
      if (signal?.aborted === true) throw abortedError(signal);
      if (this.#isClosed) throw new HodeiClientError("CANCELLED", "the client is closed");
      const bytes = this.#encode(spec, options);
      this.#admit(bytes.length);
      const item: Pending = {
        bytes,
        hasKey: options.idempotencyKey !== false,
        isSettled: false,
        mayHaveArrived: false,
        settle(answer) {
          if (item.isSettled) return;
          item.isSettled = true;
          signal?.removeEventListener("abort", abort);
          if (answer instanceof HodeiClientError) reject(answer);
          else resolve(answer);
        },
      };
      const abort = (): void => {
        item.settle(new HodeiClientError("CANCELLED", "aborted by the caller", mayHaveHappened));
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting.push(item);
      this.#waitingBytes += bytes.length;
      this.#planFlush();
    });
  }

  /** Resolves once every submit has its answer. */
  drain(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained.push(resolve);
      this.#checkDrained();
    });
  }

  /** Rejects what has no answer yet. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#pause);
    clearTimeout(this.#idle);
    const open = [...this.#inFlight.values()].flat();
    this.#inFlight.clear();
    for (const item of open)
      item.settle(new HodeiClientError("CANCELLED", closed, mayHaveHappened));
    for (const item of this.#takeWaiting()) {
      const isOutcomeUnknown = item.mayHaveArrived;
      item.settle(new HodeiClientError("CANCELLED", closed, { isOutcomeUnknown }));
    }
    this.#call?.cancel();
    this.#call = undefined;
  }

  #encode(spec: SubmitSpec, options: SubmitOptions): Uint8Array {
    const key = options.idempotencyKey ?? this.#keyPrefix + (++this.#keys).toString(36);
    return SubmitJobRequest.encode({
      spec: specToWire(spec),
      idempotencyKey: key === false ? "" : key,
      tenant: options.tenant ?? "",
    }).finish();
  }

  #admit(bytes: number): void {
    if (framedBytes(bytes) > batchLimits.bytes) {
      const problem = `the job has ${bytes} bytes, more than a message may have (${batchLimits.bytes})`;
      throw new HodeiClientError("INVALID_ARGUMENT", `spec: ${problem}`);
    }
    if (this.#waitingBytes + bytes > limits.waitingBytes) {
      throw new HodeiClientError(
        "RESOURCE_EXHAUSTED",
        `${this.#waiting.length} submits already wait in this client; await some of them first`,
      );
    }
  }

  #planFlush(): void {
    if (this.#isFlushPlanned || this.#pause !== undefined) return;
    this.#isFlushPlanned = true;
    setImmediate(() => {
      this.#isFlushPlanned = false;
      if (!this.#isClosed) this.#flush();
    });
  }

  #flush(): void {
    clearTimeout(this.#idle);
    let at = 0;
    while (at < this.#waiting.length && this.#inFlight.size < limits.inFlightBatches) {
      const items: Pending[] = [];
      let bytes: number = batchLimits.headBytes;
      for (; at < this.#waiting.length && items.length < batchLimits.jobs; at++) {
        const item = this.#waiting[at];
        if (item === undefined) break;
        const size = framedBytes(item.bytes.length);
        if (!item.isSettled && bytes + size > batchLimits.bytes) break;
        this.#waitingBytes -= item.bytes.length;
        if (item.isSettled) continue;
        bytes += size;
        items.push(item);
      }
      if (items.length > 0) this.#send(items);
    }
    this.#waiting = at >= this.#waiting.length ? [] : this.#waiting.slice(at);
    this.#checkDrained();
  }

  #send(items: readonly Pending[]): void {
    const batch = ++this.#batches;
    this.#inFlight.set(batch, items);
    this.#call ??= this.#open();
    const message = encodeBatch(
      batch,
      items.map(({ bytes }) => bytes),
    );
    // No more than `inFlightBatches` messages are ever buffered, so there is no need to wait for a drain.
    this.#call.write(message);
  }

  #open(): SubmitCall {
    const call = this.#channel.openRaw(JobServiceService.submitJobs);
    call.on("data", (answer: SubmitJobsResponse) => this.#receive(answer));
    call.on("error", (error: unknown) => this.#lose(call, this.#channel.errorOf(error)));
    call.on("end", () => {
      this.#lose(call, new HodeiClientError("UNAVAILABLE", "the server ended the stream"));
    });
    return call;
  }

  #receive({ batch, results }: SubmitJobsResponse): void {
    const items = this.#inFlight.get(batch);
    if (items === undefined) return;
    this.#inFlight.delete(batch);
    this.#patience.reset();
    items.forEach((item, index) => item.settle(answerOf(results[index])));
    if (this.#waiting.length > 0) this.#planFlush();
    else if (this.#inFlight.size === 0) this.#planIdle();
    this.#checkDrained();
  }

  /** An open stream keeps the process alive, so one that has nothing to do is closed. */
  #planIdle(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      if (this.#inFlight.size > 0) return;
      const call = this.#call;
      this.#call = undefined;
      call?.end();
    }, limits.idleMs);
  }

  #lose(call: SubmitCall, error: HodeiClientError): void {
    if (this.#call !== call) return;
    this.#call = undefined;
    const lost = [...this.#inFlight.values()].flat();
    this.#inFlight.clear();
    if (lost.length === 0) return;
    const pauseMs = this.#patience.pauseAfter(error, Date.now());
    const unknown = new HodeiClientError(
      error.code,
      `${error.message}; it is not known whether the job was accepted`,
      { cause: error, isOutcomeUnknown: true },
    );
    const isLost = isTransient(error) && !isConnectFailure(error);
    const again = lost.filter((item) => {
      item.mayHaveArrived ||= isLost;
      if (pauseMs !== undefined && item.hasKey) return true;
      item.settle(item.mayHaveArrived ? unknown : error);
      return false;
    });
    // Nobody would come back to what waits behind a server that cannot be reached.
    if (pauseMs === undefined) {
      this.#patience.reset();
      for (const item of this.#takeWaiting()) item.settle(item.mayHaveArrived ? unknown : error);
    } else {
      this.#retry(again, pauseMs);
    }
    this.#checkDrained();
  }

  #retry(items: readonly Pending[], pauseMs: number): void {
    this.#waiting = [...items, ...this.#waiting];
    for (const { bytes } of items) this.#waitingBytes += bytes.length;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.#planFlush();
    }, pauseMs);
  }

  #checkDrained(): void {
    if (this.#waiting.length > 0 || this.#inFlight.size > 0) return;
    for (const resolve of this.#drained.splice(0)) resolve();
  }

  #takeWaiting(): Pending[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    return waiting;
  }
}

const closed = "the client was closed";
const mayHaveHappened = { isOutcomeUnknown: true } as const;

function answerOf(answer: SubmitResult | undefined): SubmittedJob | HodeiClientError {
  switch (answer?.result?.$case) {
    case "accepted": {
      const { jobId, version, alreadyExisted } = answer.result.value;
      return { id: jobId, version, alreadyExisted };
    }
    case "refused":
      return statusError(answer.result.value.code, answer.result.value.message);
    case undefined:
      return new HodeiClientError("INTERNAL", "the server did not answer every job of a batch");
  }
}
