import type { AttemptId } from "#job/id.ts";
import type {
  LogEnd,
  LogState,
  LogStore,
  LogStoreStats,
  NewBatch,
  ReadOptions,
  StoredBatch,
} from "#logstore/logstore.ts";
import type { ObjectStore } from "#logstore/object-store.ts";
import { checkId, type Appender } from "./append.ts";
import { deleteExpired } from "./expire.ts";
import type { Keeper } from "./keeper.ts";
import type { Ledger } from "./ledger.ts";
import { closed, type LogLink } from "./link.ts";
import type { News } from "./news.ts";
import { readLog, type ReadGround } from "./reader.ts";
import type { Notes } from "./notes.ts";
import type { SealQueue } from "./seal-queue.ts";
import type { Segments } from "./segments.ts";
import type { StreamReader } from "./stream.ts";
import type { LogView } from "./view.ts";

export interface RedisLogStoreParts {
  readonly link: LogLink;
  readonly news: News;
  readonly notes: Notes;
  readonly segments: Segments;
  readonly streams: StreamReader;
  readonly appender: Appender;
  readonly ledger: Ledger;
  readonly queue: SealQueue;
  readonly keeper: Keeper;
  readonly objects: ObjectStore | undefined;
  readonly log: { warn(facts: object, message: string): void };
  readonly now: () => number;
}

/** A log store in a Redis that any number of processes share; `openRedisLogStore` makes one. */
export class RedisLogStore implements LogStore {
  readonly #parts: RedisLogStoreParts;
  readonly #ground: ReadGround;
  #lastSweep = -Infinity;
  #confirmed = -Infinity;
  #isClosed = false;

  constructor(parts: RedisLogStoreParts) {
    this.#parts = parts;
    const { link, news, segments, streams, log } = parts;
    this.#ground = {
      link,
      news,
      segments,
      streams,
      log,
      isExpired: (view) => this.#isExpired(view),
      assertOpen: () => this.#assertOpen(),
    };
  }

  async append(attempt: AttemptId, batch: NewBatch): Promise<void> {
    this.#assertOpen();
    return this.#parts.appender.append(attempt, batch);
  }

  async findLog(attempt: AttemptId): Promise<LogState | undefined> {
    this.#assertOpen();
    const view = await this.#parts.link.view(attempt);
    if (view === undefined || this.#isExpired(view)) return undefined;
    const { number, mark } = view.durable;
    const { stdout, stderr, system } = mark.bytes;
    return {
      batch: number,
      last: mark.last,
      bytes: stdout + stderr + system,
      hasEnded: view.end !== undefined,
      expiresAt: view.end?.expiresAt,
    };
  }

  async end(attempt: AttemptId, end: LogEnd): Promise<void> {
    checkId(attempt);
    this.#assertOpen();
    const { link, notes, appender, ledger, keeper, now } = this.#parts;
    const { meta, news } = link.keysOf(attempt);
    const { shared } = link;
    // What is to be done some time is noted first, so that whoever dies between leaves nothing that nobody looks after.
    const noted = notes.note(attempt, { endedAt: now(), expiresAt: end.expiresAt });
    if (link.lanes.isSpread) await noted;
    const [, isNew, wasOpen] = await Promise.all([
      noted,
      link.runDurably("end", [meta], [JSON.stringify(end), news, link.publishing]),
      link.writeDurably("SREM", shared.open, attempt),
      ledger.ending(attempt),
    ]);
    appender.forget(attempt);
    if (Number(wasOpen) === 1) keeper.ended();
    // One that had ended before is known already, and may be sealed or deleted.
    if (Number(isNew) === 1) keeper.wake();
  }

  read(attempt: AttemptId, options: ReadOptions): AsyncIterable<StoredBatch> {
    checkId(attempt);
    return readLog(this.#ground, attempt, options);
  }

  /** A clock that jumps must be seen in two sweeps before anything is deleted. */
  async expire(now: number): Promise<number> {
    this.#assertOpen();
    this.#confirmed = Math.min(this.#lastSweep, now);
    this.#lastSweep = now;
    return deleteExpired(this.#parts, this.#confirmed);
  }

  stats(): LogStoreStats {
    const { link, ledger, keeper, queue, objects } = this.#parts;
    const { inRedis, inArchive } = ledger.sums;
    const { openLogs, waitingBytes } = keeper.counts;
    return {
      openLogs,
      storedBytes: inRedis,
      isWritable: !this.#isClosed && link.isUp,
      ...(objects && {
        archive: {
          storedBytes: inArchive,
          waitingBytes,
          isReachable: queue.works,
        },
      }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { news, keeper, queue, objects, link } = this.#parts;
    await news[Symbol.asyncDispose]();
    // Ends the calls under way, which sealing waits for.
    await objects?.[Symbol.asyncDispose]();
    await keeper[Symbol.asyncDispose]();
    await queue[Symbol.asyncDispose]();
    await link[Symbol.asyncDispose]();
  }

  #isExpired({ end }: LogView): boolean {
    return end !== undefined && end.expiresAt <= Math.max(this.#parts.now(), this.#confirmed);
  }

  #assertOpen(): void {
    if (this.#isClosed) throw closed();
  }
}
