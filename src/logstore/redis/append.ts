import { HodeiError, invalid } from "#error.ts";
import { isAttemptId, type AttemptId } from "#job/id.ts";
import { scanBatch, type BatchScan } from "#log/batch.ts";
import { logStreams } from "#log/record.ts";
import { headerBytes, markAfter, writeHeader } from "#logstore/frames/frame.ts";
import type { NewBatch } from "#logstore/logstore.ts";
import { toArray, toBuffer, type LogLink } from "./link.ts";
import { OpenLog } from "./open-log.ts";
import type { Room } from "./room.ts";
import { noHead, packHead, parseHead, type Head } from "./view.ts";

export interface AppenderOptions {
  readonly link: LogLink;
  readonly room: Room;
  /** A batch was acknowledged. */
  readonly onAppended: (log: OpenLog, bytes: number) => void;
  /** A log was opened that nobody had opened before. */
  readonly onOpened: () => void;
}

/** So often a batch is tried again behind what another process has added. */
const mostTries = 3;
/** A log that nothing is added to for so long is forgotten, and asked for again. */
const idleMs = 600_000;

/**
 * Adds batches. Each names the batch that it comes behind, so that of two processes only one adds it, and so that it may be sent before the one in front of
 * it is acknowledged.
 */
export class Appender {
  readonly #options: AppenderOptions;
  readonly #logs = new Map<AttemptId, OpenLog>();

  constructor(options: AppenderOptions) {
    this.#options = options;
  }

  /** Logs that this process adds to. */
  get logs(): ReadonlyMap<AttemptId, OpenLog> {
    return this.#logs;
  }

  async append(attempt: AttemptId, batch: NewBatch): Promise<void> {
    const log = this.#logs.get(attempt) ?? this.#create(attempt, batch.tenant ?? "");
    log.usedAt = performance.now();
    try {
      await this.#append(log, batch);
    } finally {
      if (log.acked.number === 0 && log.head === undefined) this.forget(attempt);
    }
  }

  /** Forgets what is known of a log; the next batch asks Redis. */
  forget(attempt: AttemptId): void {
    this.#logs.delete(attempt);
  }

  forgetIdle(): void {
    const before = performance.now() - idleMs;
    for (const [attempt, { usedAt }] of this.#logs) {
      if (usedAt < before) this.#logs.delete(attempt);
    }
  }

  async #append(log: OpenLog, { number, bytes, release }: NewBatch): Promise<void> {
    if (number <= log.acked.number) return;
    const scan = scanBatch(bytes);
    if (log.head === undefined && number > 1) await (log.asking ??= this.#ask(log));
    await this.#options.room.pass(log);
    // Another process may have added what is missing here. Those behind this one ask too, and go on in their order.
    if (number > (log.head ?? log.acked).number + 1) await (log.asking ??= this.#askAfter(log));
    if (number <= log.acked.number) return;
    if (number <= (log.head?.number ?? 0)) {
      await log.flight;
      return;
    }
    checkOrder(log, { number, scan }, log.head ?? noHead);
    const flight = this.#send(log, { number, bytes, scan });
    log.flight = flight;
    await flight.finally(() => {
      if (log.flight === flight) log.flight = undefined;
    });
    release?.(bytes);
  }

  /** Sends at once, so that batches leave in the order in which they came. */
  async #send(log: OpenLog, batch: Taken, tries = 1): Promise<void> {
    const { link, onAppended } = this.#options;
    const { attempt, epoch } = log;
    const before = log.head ?? noHead;
    const after = headAfter(log, before, batch);
    log.head = after;
    let answer: readonly unknown[];
    try {
      const registered = this.#register(log);
      const { meta, stream, news } = link.keysOf(attempt);
      const args = [
        packHead(before),
        packHead(after),
        `${batch.number}-0`,
        headerOf(attempt, after, batch.bytes),
        viewOf(batch.bytes),
        log.tenant,
        news,
        link.publishing,
      ];
      const appended = link.runDurably("append", [meta, stream], args);
      const [found] = await Promise.all([appended, registered]);
      answer = toArray(found);
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      if (log.epoch === epoch) log.fail(failure);
      throw error;
    }
    const [word, head] = answer.map(toBuffer);
    switch (word?.toString()) {
      case "ok":
        log.acked = after;
        onAppended(log, batch.bytes.length);
        return;
      case "ended":
        this.forget(attempt);
        throw hasEnded(attempt);
      default:
        await this.#sendBehind(log, { batch, epoch, tries }, parseHead(head ?? Buffer.alloc(0)));
    }
  }

  /** Redis has something else than what the batch was to come behind. */
  async #sendBehind(log: OpenLog, { batch, epoch, tries }: Sent, found: Head): Promise<void> {
    const { head } = log;
    const isKnown = log.epoch !== epoch;
    if (isKnown && head === undefined) throw log.failure ?? new Error("a failure without a reason");
    // What was sent behind a batch that Redis refused was refused as well, and follows it when that was sent again.
    const base = isKnown && head !== undefined && head.number >= found.number ? head : found;
    if (base === found)
      log.fail(hole(`log of ${log.attempt}: a batch before this one was not taken`));
    log.head = base;
    if (batch.number <= found.number) {
      if (found.number > log.acked.number) log.acked = found;
      return;
    }
    checkOrder(log, batch, base);
    if (tries >= mostTries) {
      log.head = undefined;
      throw new HodeiError("unavailable", `log of ${log.attempt} is written by someone else`);
    }
    await this.#send(log, batch, tries + 1);
  }

  async #ask(log: OpenLog): Promise<void> {
    try {
      const view = await this.#options.link.latestView(log.attempt);
      if (view?.end !== undefined) throw hasEnded(log.attempt);
      log.head = view?.durable ?? noHead;
      if (view !== undefined) log.settle(view);
    } finally {
      log.asking = undefined;
    }
  }

  /** Nothing may be under way while Redis is asked: its answer would be older than what is known here. */
  async #askAfter(log: OpenLog): Promise<void> {
    // Whoever sent it is told how it failed.
    await log.flight?.catch(() => undefined);
    await this.#ask(log);
  }

  /** Before its first batch, in the same go. */
  async #register(log: OpenLog): Promise<void> {
    if (log.isRegistered) return;
    log.isRegistered = true;
    const { link, onOpened } = this.#options;
    try {
      if (Number(await link.writeDurably("SADD", link.shared.open, log.attempt)) === 1) onOpened();
    } catch (error) {
      log.isRegistered = false;
      throw error;
    }
  }

  #create(attempt: AttemptId, tenant: string): OpenLog {
    checkId(attempt);
    const log = new OpenLog(attempt, tenant);
    this.#logs.set(attempt, log);
    return log;
  }
}

interface Taken {
  readonly number: number;
  readonly bytes: Uint8Array;
  readonly scan: BatchScan;
}

interface Sent {
  readonly batch: Taken;
  readonly epoch: number;
  readonly tries: number;
}

export function checkId(attempt: string): void {
  if (!isAttemptId(attempt)) throw invalid("attempt_id", "not an attempt's id");
}

/** What Redis lost, although it had acknowledged it, is a hole in the log, and no reason to lose what comes behind it too. */
function baseOf(log: OpenLog, found: Head, number: number): Head {
  const isLost = found.number < log.acked.number && number === log.acked.number + 1;
  return isLost ? log.acked : found;
}

function headAfter(log: OpenLog, before: Head, { number, scan, bytes }: Taken): Head {
  const { mark } = baseOf(log, before, number);
  return { number, mark: markAfter(mark, scan, bytes.length) };
}

function checkOrder(log: OpenLog, batch: Omit<Taken, "bytes">, found: Head): void {
  const { number, scan } = batch;
  const base = baseOf(log, found, number);
  if (!Number.isSafeInteger(number) || number !== base.number + 1) {
    throw hole(`log of ${log.attempt}: batch ${number} comes where ${base.number + 1} is expected`);
  }
  for (const name of logStreams) {
    const next = base.mark.last[name] + 1;
    if (scan.first[name] === 0 || scan.first[name] === next) continue;
    throw hole(
      `log of ${log.attempt}: ${name} record ${scan.first[name]} comes where ${next} is expected`,
    );
  }
}

function headerOf(attempt: AttemptId, { number, mark }: Head, payload: Uint8Array): Buffer {
  const header = Buffer.allocUnsafe(headerBytes);
  writeHeader(header, { kind: "batch", attempt, number, mark, dropped: 0, payload });
  return header;
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function hasEnded(attempt: AttemptId): HodeiError {
  return new HodeiError("aborted", `log of ${attempt} has ended`);
}

function hole(message: string): HodeiError {
  return new HodeiError("failed_precondition", message);
}
