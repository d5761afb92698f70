import type { Redis } from "ioredis";
import { HodeiError } from "#error.ts";
import { explain } from "#store/redis/fault.ts";

export type Argument = string | number | Buffer;

export interface FlightsOptions {
  readonly redis: Redis;
  /** Whether what was done is confirmed by a replica as well. */
  readonly isReplicated: boolean;
}

/** Flights that may be on their way at the same time: one is read while the one before it is written to disk. */
const maxFlights = 2;
/** Bounds of one flight, so that it holds up others for a short time only. */
const maxCommands = 256;
const maxBytes = 1024 * 1024;
/** How long a replica may take to confirm. */
const replicaMs = 1_000;

interface Pending {
  /** Of a cluster; only what is in one slot can be one transaction. */
  readonly slot: number;
  readonly command: readonly Argument[];
  readonly bytes: number;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Commands that change logs, in their order. What comes while others are on their way waits for them and leaves together, as one transaction (in a cluster as one
 * for each slot): Redis syncs its file once for all of it, where it would once for every large command.
 */
export class Flights {
  readonly #options: FlightsOptions;
  #gathered: Pending[] = [];
  #flights = 0;
  #isScheduled = false;

  constructor(options: FlightsOptions) {
    this.#options = options;
  }

  /** Errors are not explained. */
  add(slot: number, command: readonly Argument[]): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const bytes = command.reduce<number>((sum, part) => sum + lengthOf(part), 0);
    this.#gathered.push({ slot, command, bytes, resolve, reject });
    this.#schedule();
    return promise;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#flights >= maxFlights) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      while (this.#gathered.length > 0 && this.#flights < maxFlights) void this.#fly();
    });
  }

  async #fly(): Promise<void> {
    const groups = [...Map.groupBy(this.#takeBatch(), ({ slot }) => slot).values()];
    this.#flights++;
    // Written in one go, so that nothing else comes between.
    const sent = groups.map((group) => ({ group, answers: this.#send(group) }));
    const confirmed = this.#options.isReplicated ? this.#confirm() : Promise.resolve();
    await Promise.all(sent.map((one) => this.#settle(one, confirmed)));
    this.#flights--;
    if (this.#gathered.length > 0) this.#schedule();
  }

  async #settle({ group, answers }: Sent, confirmed: Promise<void>): Promise<void> {
    try {
      const [found] = await Promise.all([answers, confirmed]);
      for (const [at, { resolve, reject }] of group.entries()) {
        const answer = found[at];
        if (answer instanceof Error) reject(answer);
        else resolve(answer);
      }
    } catch (error) {
      // What waits behind a stalled server would wait too long.
      const late = explain(error).isStalled ? this.#gathered.splice(0) : [];
      for (const { reject } of [...group, ...late]) reject(error);
    }
  }

  #takeBatch(): Pending[] {
    let [bytes, count] = [0, 0];
    for (const { bytes: more } of this.#gathered) {
      if (count > 0 && (count >= maxCommands || bytes + more > maxBytes)) break;
      bytes += more;
      count++;
    }
    return this.#gathered.splice(0, count);
  }

  async #send(group: readonly Pending[]): Promise<readonly unknown[]> {
    const { redis } = this.#options;
    const call = ([name = "", ...args]: readonly Argument[]) =>
      redis.callBuffer(String(name), ...args);
    const [first] = group;
    if (group.length > 1 || first === undefined) return transact(call, group);
    return call(first.command).then(
      (answer) => [answer],
      (error: unknown) => [asReply(error)],
    );
  }

  async #confirm(): Promise<void> {
    const replicas = await this.#options.redis.wait(1, replicaMs);
    if (replicas >= 1) return;
    throw new HodeiError("unavailable", "no replica of Redis confirmed; the outcome is unknown");
  }
}

interface Sent {
  readonly group: readonly Pending[];
  readonly answers: Promise<readonly unknown[]>;
}

/** All of it or, when one of the commands is refused at once, nothing. */
async function transact(
  call: (command: readonly Argument[]) => Promise<unknown>,
  batch: readonly Pending[],
): Promise<readonly unknown[]> {
  const replies = await Promise.all([
    call(["MULTI"]),
    ...batch.map(({ command }) => call(command)),
    call(["EXEC"]),
  ]);
  const answers: unknown = replies.at(-1);
  if (Array.isArray(answers)) return answers as readonly unknown[];
  throw new Error("Redis gave something else where a list was asked for");
}

function asReply(error: unknown): Error {
  if (error instanceof Error && error.name === "ReplyError") return error;
  throw error;
}

function lengthOf(part: Argument): number {
  return typeof part === "number" ? 8 : part.length;
}
