import { HodeiError } from "#error.ts";
import type { AttemptId } from "#job/id.ts";
import { noSequences } from "#log/record.ts";
import type { LogEnd, LogState, LogStore, NewBatch } from "#logstore/logstore.ts";

interface FakeLog {
  readonly batches: NewBatch[];
  end: LogEnd | undefined;
}

/** A log store in memory whose disk can be stopped and filled. */
export class FakeLogStore implements LogStore {
  readonly logs = new Map<AttemptId, FakeLog>();
  isFull = false;
  #gate: PromiseWithResolvers<void> | undefined;

  /** Nothing becomes durable until `release`. */
  hold(): void {
    this.#gate = Promise.withResolvers();
  }

  release(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  async append(attempt: AttemptId, batch: NewBatch): Promise<void> {
    await this.#gate?.promise;
    const log = this.#open(attempt);
    if (log.end !== undefined) throw new HodeiError("aborted", "the log has ended");
    if (batch.bytes[0] === 255) throw new HodeiError("invalid_argument", "not a LogBatch");
    if (this.isFull) throw new HodeiError("resource_exhausted", "the disk is full");
    if (batch.number > log.batches.length + 1) {
      throw new HodeiError("failed_precondition", "a batch is missing before this one");
    }
    if (batch.number === log.batches.length + 1) log.batches.push(batch);
  }

  async findLog(attempt: AttemptId): Promise<LogState | undefined> {
    const log = this.logs.get(attempt);
    if (log === undefined) return undefined;
    return {
      batch: log.batches.length,
      last: noSequences,
      bytes: log.batches.reduce((sum, { bytes }) => sum + bytes.length, 0),
      hasEnded: log.end !== undefined,
      expiresAt: log.end?.expiresAt,
    };
  }

  async end(attempt: AttemptId, end: LogEnd): Promise<void> {
    this.#open(attempt).end ??= end;
  }

  async *read(): AsyncGenerator<never, void, undefined> {
    // Nobody reads here.
  }

  async expire(): Promise<number> {
    return 0;
  }

  stats() {
    return { openLogs: this.logs.size, storedBytes: 0, isWritable: !this.isFull };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }

  #open(attempt: AttemptId): FakeLog {
    const known = this.logs.get(attempt);
    if (known !== undefined) return known;
    const log: FakeLog = { batches: [], end: undefined };
    this.logs.set(attempt, log);
    return log;
  }
}
