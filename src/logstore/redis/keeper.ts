import { randomBytes } from "node:crypto";
import { every, type Loop } from "#every.ts";
import { isAttemptId } from "#job/id.ts";
import type { Appender } from "./append.ts";
import type { Ledger } from "./ledger.ts";
import { toArray, type LogLink } from "./link.ts";
import type { Notes } from "./notes.ts";
import type { Room } from "./room.ts";
import type { SealQueue } from "./seal-queue.ts";

export interface KeeperOptions {
  readonly link: LogLink;
  readonly notes: Notes;
  readonly ledger: Ledger;
  readonly room: Room;
  readonly appender: Appender;
  readonly queue: SealQueue;
  /** How long after its end a log stays in Redis. */
  readonly sealDelayMs: number;
  readonly now: () => number;
  readonly log: { warn(facts: object, message: string): void };
}

const roundMs = 500;
/** One replica looks after ended logs; when it is gone, another does after so long. */
const leaseMs = 5_000;
/** Ended logs that are sealed in one round. */
const mostEnded = 200;
const mostCounted = 1_000;
/** An open log keeps so much when room is needed. */
const keptBytes = 64 * 1024;

export interface Counts {
  readonly openLogs: number;
  /** Of the oldest logs that have ended and are not sealed. */
  readonly waitingBytes: number;
}

/** Keeps the sums, sees that ended logs are sealed, and makes room when there is little. */
export class Keeper implements AsyncDisposable {
  readonly #options: KeeperOptions;
  readonly #token = randomBytes(8).toString("hex");
  readonly #loop: Loop;
  #openLogs = 0;
  #waitingBytes = 0;
  #hasFailed = false;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#loop = every({ intervalMs: roundMs, onError: (error) => this.#failed(error) }, () =>
      this.round(),
    );
  }

  get counts(): Counts {
    return { openLogs: Math.max(0, this.#openLogs), waitingBytes: this.#waitingBytes };
  }

  opened(): void {
    this.#openLogs++;
  }

  ended(): void {
    this.#openLogs--;
  }

  wake(): void {
    this.#loop.wake();
  }

  async round(): Promise<void> {
    await this.count();
    const { link, notes, appender, room } = this.#options;
    await notes.refresh();
    if (room.isCrowded) this.#makeRoom();
    appender.forgetIdle();
    const leads = await link.run("lead", [link.shared.leader], [this.#token, leaseMs]);
    if (Number(leads) === 1) await this.#sealEnded();
    if (this.#hasFailed) this.#options.log.warn({}, "log store in Redis works again");
    this.#hasFailed = false;
  }

  /** Reports what has changed and asks what there is. */
  async count(): Promise<void> {
    const { link, ledger, room } = this.#options;
    const [, ended] = await Promise.all([
      // At once: what this process opens and ends meanwhile counts from there.
      link.write("SCARD", link.shared.open).then((open) => (this.#openLogs = Number(open))),
      link.write("ZRANGE", link.shared.ended, 0, mostCounted),
      ledger.refresh(),
    ]);
    this.#waitingBytes = await ledger.bytesOf(toArray(ended).map(String));
    room.settle({ bytes: ledger.sums.inRedis, openLogs: this.#openLogs });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loop[Symbol.asyncDispose]();
  }

  async #sealEnded(): Promise<void> {
    const { link, queue, sealDelayMs, now, room } = this.#options;
    const until = room.isCrowded ? "+inf" : now() - sealDelayMs;
    const range = ["-inf", until, "LIMIT", 0, mostEnded] as const;
    const found = await link.write("ZRANGEBYSCORE", link.shared.ended, ...range);
    const due = toArray(found).map(String);
    for (const attempt of due) if (isAttemptId(attempt)) queue.add(attempt, 0);
  }

  /** The largest of this process' logs go first. */
  #makeRoom(): void {
    const { appender, queue } = this.#options;
    const large = [...appender.logs.values()].filter((log) => log.liveBytes > keptBytes);
    large.sort((left, right) => right.liveBytes - left.liveBytes);
    for (const { attempt } of large) queue.add(attempt, keptBytes);
  }

  #failed(error: unknown): void {
    if (!this.#hasFailed) this.#options.log.warn({ err: error }, "cannot look after logs in Redis");
    this.#hasFailed = true;
  }
}
