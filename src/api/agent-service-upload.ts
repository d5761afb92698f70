import { HodeiError } from "#error.ts";
import type { AttemptBatch } from "#scheduler/scheduler.ts";

export interface UploadOptions {
  readonly append: (batch: AttemptBatch) => Promise<"ok" | "fenced">;
  readonly retryMs: number;
  /** The oldest batch, of so many bytes, is durable. */
  readonly onDurable: (number: number, bytes: number) => void;
  /** Nothing more of this attempt is taken; batches of these sizes are dropped. */
  readonly onRefused: (sizes: readonly number[], error: HodeiError | undefined) => void;
  readonly onFull: () => void;
  readonly onFailure: (error: unknown) => void;
}

interface Entry {
  readonly batch: AttemptBatch;
  /** A durable batch may have given its bytes back. */
  readonly size: number;
  hasFailed: boolean;
  /** A store may answer for one before it answers for the one in front of it. */
  isDurable: boolean;
}

/**
 * The batches of one attempt on their way to the disk, many at a time and in their order. When the disk is full they wait here, their credit with them, and are
 * tried again.
 */
export class Upload {
  readonly #options: UploadOptions;
  #entries: Entry[] = [];
  #inFlight = 0;
  #pause: NodeJS.Timeout | undefined;

  constructor(options: UploadOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  push(batch: AttemptBatch): void {
    const entry = { batch, size: batch.bytes.length, hasFailed: false, isDurable: false };
    const mustWait = this.#pause !== undefined || this.#entries[0]?.hasFailed === true;
    this.#entries.push(entry);
    if (mustWait) entry.hasFailed = true;
    else this.#send(entry);
  }

  close(): void {
    clearTimeout(this.#pause);
    this.#pause = undefined;
    this.#entries = [];
  }

  #send(entry: Entry): void {
    entry.hasFailed = false;
    this.#inFlight++;
    this.#options
      .append(entry.batch)
      .then((answer) => {
        this.#inFlight--;
        if (answer === "ok") this.#durable(entry);
        else this.#refuse(undefined);
      })
      .catch((error: unknown) => {
        this.#inFlight--;
        this.#failed(entry, error);
      });
  }

  #durable(entry: Entry): void {
    entry.isDurable = true;
    for (let first = this.#entries[0]; first?.isDurable === true; first = this.#entries[0]) {
      this.#entries.shift();
      this.#options.onDurable(first.batch.number, first.size);
    }
    this.#resend();
  }

  #failed(entry: Entry, error: unknown): void {
    if (!this.#entries.includes(entry)) return;
    if (!(error instanceof HodeiError)) return this.#options.onFailure(error);
    entry.hasFailed = true;
    if (error.code === "resource_exhausted") {
      this.#options.onFull();
      this.#pause ??= setTimeout(() => {
        this.#pause = undefined;
        this.#resend();
      }, this.#options.retryMs).unref();
    } else if (error.code === "failed_precondition" && this.#entries[0] !== entry) {
      // The hole before it is a batch that is still to be tried again.
      this.#resend();
    } else if (error.code === "failed_precondition" || error.code === "invalid_argument") {
      this.#refuse(error);
    } else this.#options.onFailure(error);
  }

  /** Sends again what failed, in order, once nothing is under way that could overtake it. */
  #resend(): void {
    if (this.#pause !== undefined || this.#inFlight > 0) return;
    for (const entry of this.#entries) if (entry.hasFailed) this.#send(entry);
  }

  #refuse(error: HodeiError | undefined): void {
    if (this.#entries.length === 0) return;
    const sizes = this.#entries.map(({ size }) => size);
    this.close();
    this.#options.onRefused(sizes, error);
  }
}
