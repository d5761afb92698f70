import { unlink } from "node:fs/promises";
import { HodeiError, invalid } from "#error.ts";
import { isAttemptId, type AttemptId } from "#job/id.ts";
import { scanBatch } from "#log/batch.ts";
import type {
  LogEnd,
  LogState,
  LogStore,
  LogStoreStats,
  NewBatch,
  ReadOptions,
  StoredBatch,
} from "#logstore/logstore.ts";
import type { Archive } from "./archive.ts";
import { backupLogs } from "./backup.ts";
import type { RecentFrames } from "./cache.ts";
import type { WarningLog } from "./disk.ts";
import { markAfter, type Frame } from "#logstore/frames/frame.ts";
import type { Journal } from "./journal.ts";
import type { Keeper } from "./keeper.ts";
import { archivedLog, FileLog } from "./log.ts";
import { checkOrder } from "./order.ts";
import { tenantNumber, type Quota } from "./quota.ts";
import { readLog, type ReadSource } from "./read.ts";
import type { Shipper } from "./shipper.ts";
import type { Valve } from "./valve.ts";

export interface FileLogStoreParts {
  readonly directory: string;
  readonly logs: Map<AttemptId, FileLog>;
  readonly archive: Archive;
  readonly journal: Journal;
  readonly keeper: Keeper;
  readonly shipper: Shipper | undefined;
  readonly valve: Valve;
  readonly recent: RecentFrames;
  readonly log: WarningLog;
  readonly now: () => number;
  readonly quota: Quota;
  /** What was found when it was opened had holes, so that new logs may begin behind one. */
  readonly isDamaged: boolean;
}

/** A log store over one journal, parts and an archive; `openFileLogStore` makes one. */
export class FileLogStore implements LogStore, ReadSource {
  readonly recent: RecentFrames;
  readonly log: WarningLog;
  readonly #parts: FileLogStoreParts;
  readonly #logs: Map<AttemptId, FileLog>;
  readonly #waiting = new Map<AttemptId, Set<() => void>>();
  /** Appends that repeat a batch which is on its way wait with it. */
  readonly #flights = new Map<FileLog, Promise<void>>();
  #openLogs = 0;
  #lastSweep = -Infinity;
  #confirmed = -Infinity;
  #isClosed = false;

  constructor(parts: FileLogStoreParts) {
    this.#parts = parts;
    this.#logs = parts.logs;
    this.recent = parts.recent;
    this.log = parts.log;
    for (const log of parts.logs.values()) {
      if (log.end === undefined) this.#openLogs++;
      else parts.keeper.ended(log);
    }
  }

  async append(attempt: AttemptId, batch: NewBatch): Promise<void> {
    const known = this.#logs.get(attempt);
    if (known !== undefined) return this.#append(known, batch);
    checkId(attempt);
    this.assertOpen();
    if (this.#parts.archive.mayHave(attempt)) {
      if (await this.#parts.archive.has(attempt)) throw hasEnded(attempt);
    }
    const log = this.#logs.get(attempt) ?? this.#create(attempt);
    try {
      return await this.#append(log, batch);
    } finally {
      this.#dropVoid(log); // A first batch that was refused opens no log.
    }
  }

  async findLog(attempt: AttemptId): Promise<LogState | undefined> {
    this.assertOpen();
    const log = await this.find(attempt);
    if (log === undefined || this.isExpired(log)) return undefined;
    const { number, mark } = log.durable;
    if (number === 0 && log.end === undefined) return undefined;
    const { stdout, stderr, system } = mark.bytes;
    return {
      batch: number,
      last: mark.last,
      bytes: stdout + stderr + system,
      hasEnded: log.end !== undefined,
      expiresAt: log.end?.expiresAt,
    };
  }

  async end(attempt: AttemptId, end: LogEnd): Promise<void> {
    checkId(attempt);
    this.assertOpen();
    if (!this.#logs.has(attempt) && this.#parts.archive.mayHave(attempt)) {
      if (await this.#parts.archive.has(attempt)) return;
    }
    const log = this.#logs.get(attempt) ?? this.#create(attempt);
    if (log.end !== undefined) return;
    if (log.isEnding) return this.#flights.get(log);
    log.isEnding = true;
    const { number, mark } = log.accepted;
    const payload = Buffer.from(JSON.stringify(end));
    const { dropped } = log;
    const frame: Frame = { kind: "end", attempt, number, mark, dropped, payload, note: end };
    const flight = this.#write(log, { frame, before: log.accepted }, () => {
      log.end = end;
      this.#openLogs--;
      this.#parts.keeper.ended(log);
    });
    this.#flights.set(log, flight);
    return flight.finally(() => this.#flights.delete(log));
  }

  read(attempt: AttemptId, options: ReadOptions): AsyncIterable<StoredBatch> {
    checkId(attempt);
    return readLog(this, attempt, options);
  }

  /** A clock that jumps must be seen in two sweeps before anything is deleted. */
  async expire(now: number): Promise<number> {
    this.assertOpen();
    this.#confirmed = Math.min(this.#lastSweep, now);
    this.#lastSweep = now;
    const { keeper, archive, journal } = this.#parts;
    return keeper.alone(async () => {
      let count = 0;
      for (const log of this.#logs.values()) {
        if (log.end === undefined || log.end.expiresAt > this.#confirmed) continue;
        this.#logs.delete(log.attempt);
        await keeper.discard(log);
        this.#wake(log.attempt);
        count++;
      }
      count += await archive.deleteExpired(this.#confirmed);
      await journal.dropUnused();
      this.#parts.shipper?.expire(this.#confirmed);
      return count;
    });
  }

  async backup(folder: string): Promise<void> {
    this.assertOpen();
    const { directory, journal, keeper } = this.#parts;
    await backupLogs({ directory, journal, keeper, logs: this.#logs }, folder);
  }

  stats(): LogStoreStats {
    const { journal, archive, shipper } = this.#parts;
    let storedBytes = journal.bytes + archive.bytes;
    for (const log of this.#logs.values()) {
      for (const part of log.parts) storedBytes += part.bytes;
    }
    return {
      openLogs: this.#openLogs,
      storedBytes,
      isWritable: !this.#isClosed && journal.isWritable,
      ...(shipper && { archive: shipper.stats }),
    };
  }

  async find(attempt: AttemptId): Promise<FileLog | undefined> {
    const open = this.#logs.get(attempt);
    if (open !== undefined && !open.isVoid) return open;
    const found = await this.#parts.archive.find(attempt);
    if (found === undefined) return this.#logs.get(attempt);
    return archivedLog(found, this.#parts.quota);
  }

  isExpired({ end }: FileLog): boolean {
    return end !== undefined && end.expiresAt <= Math.max(this.#parts.now(), this.#confirmed);
  }

  async change(attempt: AttemptId, signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.#isClosed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting = this.#waiting.get(attempt) ?? new Set();
    this.#waiting.set(attempt, waiting.add(resolve));
    const wake = () => resolve();
    signal.addEventListener("abort", wake, { once: true });
    await promise;
    signal.removeEventListener("abort", wake);
    waiting.delete(resolve);
    if (waiting.size === 0 && this.#waiting.get(attempt) === waiting) this.#waiting.delete(attempt);
  }

  assertOpen(): void {
    if (this.#isClosed) throw new HodeiError("unavailable", "the log store is closed");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const attempt of this.#waiting.keys()) this.#wake(attempt);
    const closed = new HodeiError("unavailable", "the log store is closed");
    this.#parts.valve.refuse(closed);
    this.#parts.journal.breakWith(closed);
    await this.#parts.shipper?.[Symbol.asyncDispose]();
    await this.#parts.keeper.close();
    await this.#parts.journal.close();
  }

  #append(
    log: FileLog,
    { number, bytes, release, tenant = "" }: NewBatch,
  ): Promise<void> | undefined {
    this.assertOpen();
    if (log.end !== undefined || log.isEnding) throw hasEnded(log.attempt);
    if (number <= log.durable.number) return undefined;
    if (number <= log.accepted.number) return this.#flights.get(log);
    const scan = scanBatch(bytes);
    checkOrder(log, number, scan);
    const before = log.accepted;
    const mark = markAfter(before.mark, scan, bytes.length);
    log.accepted = { number, mark };
    log.mayJump = false;
    if (log.tenant === 0) log.tenant = tenantNumber(tenant);
    const { attempt, dropped, tenant: owner } = log;
    const frame: Frame = {
      kind: "batch",
      attempt,
      number,
      mark,
      dropped,
      tenant: owner,
      payload: bytes,
      scan,
    };
    const payloadBytes = bytes.length;
    const flight = this.#write(log, { frame, before }, (segment, at) => {
      const entry = { number, segment, at, payloadBytes, last: mark.last, frame: undefined };
      log.place(entry, mark);
      if (log.readers > 0) this.recent.put(entry, frame);
      else release?.(bytes);
      log.dropParts();
      for (const part of log.takeRemoved(dropped)) void this.#unlink(part.path);
      this.#parts.keeper.placed(log);
      if (log.accepted.number === number) this.#flights.delete(log);
    });
    this.#flights.set(log, flight);
    return flight;
  }

  #write(log: FileLog, { frame, before }: Taken, stored: Stored): Promise<void> {
    const { valve } = this.#parts;
    return new Promise((resolve, reject) => {
      valve.add(log, {
        frame,
        stored: (segment, at) => {
          if (frame.kind === "end") log.endSegment = segment;
          stored(segment, at);
          resolve();
          this.#wake(log.attempt);
        },
        refused: (error) => {
          // What comes behind it in this log builds on it, and is refused as well: here or by the journal.
          if (frame.kind === "end") log.isEnding = false;
          else if (log.accepted.number >= frame.number) log.accepted = before;
          this.#flights.delete(log);
          valve.refuse(error, log);
          this.#dropVoid(log);
          reject(error);
        },
      });
    });
  }

  #create(attempt: AttemptId): FileLog {
    const log = new FileLog(attempt, this.#parts.quota);
    log.mayJump = this.#parts.isDamaged;
    this.#logs.set(attempt, log);
    this.#openLogs++;
    return log;
  }

  #dropVoid(log: FileLog): void {
    if (log.isVoid && this.#logs.get(log.attempt) === log) {
      this.#logs.delete(log.attempt);
      this.#openLogs--;
    }
  }

  #wake(attempt: AttemptId): void {
    const waiting = this.#waiting.get(attempt);
    if (waiting === undefined) return;
    this.#waiting.delete(attempt);
    for (const resolve of waiting) resolve();
  }

  async #unlink(path: string): Promise<void> {
    await unlink(path).catch((error: unknown) => {
      this.log.warn({ err: error, path }, "cannot delete a part of a log");
    });
  }
}

interface Taken {
  readonly frame: Frame;
  /** What the log had accepted before it. */
  readonly before: FileLog["accepted"];
}

type Stored = Parameters<Journal["add"]>[0]["stored"];

function checkId(attempt: string): void {
  if (!isAttemptId(attempt)) throw invalid("attempt_id", "not an attempt's id");
}

function hasEnded(attempt: AttemptId): HodeiError {
  return new HodeiError("aborted", `log of ${attempt} has ended`);
}
