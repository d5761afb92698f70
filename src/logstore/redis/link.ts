import { HodeiError } from "#error.ts";
import type { AttemptId } from "#job/id.ts";
import type { Address } from "#store/redis/address.ts";
import { checkServer, type Wish } from "#store/redis/check.ts";
import { explain } from "#store/redis/fault.ts";
import type { Argument } from "./flights.ts";
import { logKeys, sharedKeys, type LogKeys, type SharedKeys } from "./keys.ts";
import type { Lane } from "./lane.ts";
import { lanesOf, type Lanes } from "./lanes.ts";
import { scripts, type ScriptName } from "./scripts.ts";
import { parseView, parseWholeView, viewFields, type LogView, type WholeView } from "./view.ts";

export interface LogLinkOptions extends Address {
  readonly instance: string;
  readonly isReplicated: boolean;
}

/** All in one slot of a cluster. */
type Keys = readonly [string, ...string[]];

/** So many servers are asked for what has moved. */
const mostTries = 3;

/**
 * The way to the servers of a log store. Commands on one key are done in the order of the calls; what is called in one turn of the event loop leaves together.
 * The key of a command is its first argument. Errors are explained.
 */
export class LogLink {
  readonly instance: string;
  readonly shared: SharedKeys;
  readonly lanes: Lanes;
  #isClosed = false;

  constructor({ instance, isReplicated, ...address }: LogLinkOptions) {
    this.instance = instance;
    this.shared = sharedKeys(instance);
    this.lanes = lanesOf(address, isReplicated);
  }

  /** Whether what belongs to all logs can be changed. */
  get isUp(): boolean {
    return !this.#isClosed && this.#hasLane(this.shared.open);
  }

  /** What a script tells a log's followers with: in a cluster only its own servers hear of it. */
  get publishing(): string {
    return this.lanes.isSpread ? "SPUBLISH" : "PUBLISH";
  }

  /** Error: `failed_precondition` when a server may lose or evict what it has acknowledged, and nobody allowed that. */
  async connect(wish: Wish): Promise<void> {
    await explained(this.lanes.connect());
    await Promise.all(this.lanes.all.map(({ reader }) => explained(checkServer(reader, wish))));
  }

  keysOf(attempt: AttemptId): LogKeys {
    return logKeys(this.instance, attempt);
  }

  /** A command that may change something. */
  write(command: string, key: string, ...args: readonly Argument[]): Promise<unknown> {
    return this.#send(key, ({ writer }) => writer.callBuffer(command, key, ...args));
  }

  /** Error: `unavailable` when the outcome is unknown, `resource_exhausted` when Redis is full and nothing was changed. */
  run(name: ScriptName, keys: Keys, args: readonly Argument[]): Promise<unknown> {
    const call = [scripts[name].hash, keys.length, ...keys, ...args];
    return this.#send(keys[0], ({ writer }) => writer.callBuffer("EVALSHA", ...call));
  }

  /** A command that leaves with others, and is answered once it is as durable as was asked for. */
  writeDurably(command: string, key: string, ...args: readonly Argument[]): Promise<unknown> {
    return this.#send(key, ({ flights }, slot) => flights.add(slot, [command, key, ...args]));
  }

  /** `run`, with others and durably. */
  runDurably(name: ScriptName, keys: Keys, args: readonly Argument[]): Promise<unknown> {
    const call = ["EVALSHA", scripts[name].hash, keys.length, ...keys, ...args];
    return this.#send(keys[0], ({ flights }, slot) => flights.add(slot, call));
  }

  read(command: string, key: string, ...args: readonly Argument[]): Promise<unknown> {
    return this.#send(key, ({ reader }) => reader.callBuffer(command, key, ...args));
  }

  async view(attempt: AttemptId): Promise<LogView | undefined> {
    const found = await this.read("HMGET", this.keysOf(attempt).meta, ...viewFields);
    return parseView(toBuffers(found));
  }

  /** With the segments. */
  async wholeView(attempt: AttemptId): Promise<WholeView | undefined> {
    return wholeViewOf(await this.read("HGETALL", this.keysOf(attempt).meta));
  }

  /** The same, behind everything that was changed before. */
  async latestView(attempt: AttemptId): Promise<WholeView | undefined> {
    return wholeViewOf(await this.write("HGETALL", this.keysOf(attempt).meta));
  }

  /** Batches of a log's stream, and its view a moment later. */
  async rangeAndView(
    attempt: AttemptId,
    [command, key, ...args]: readonly [string, string, ...Argument[]],
  ): Promise<{ readonly view: LogView | undefined; readonly entries: unknown }> {
    const [entries, view] = await Promise.all([
      this.read(command, key, ...args),
      this.view(attempt),
    ]);
    return { view, entries };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await this.lanes[Symbol.asyncDispose]();
  }

  /** Sends at once. What another server has by now is sent there: whoever said so did nothing. */
  async #send(key: string, send: (lane: Lane, slot: number) => Promise<unknown>): Promise<unknown> {
    const slot = this.lanes.slotOf(key);
    for (let tries = 1; ; tries++) {
      if (this.#isClosed) throw closed();
      try {
        return await send(this.lanes.of(slot), slot);
      } catch (error) {
        if (tries < mostTries && (await this.lanes.moved(error))) continue;
        throw explainedOf(error);
      }
    }
  }

  #hasLane(key: string): boolean {
    try {
      return this.lanes.of(this.lanes.slotOf(key)).isUp;
    } catch {
      return false;
    }
  }
}

function wholeViewOf(answer: unknown): WholeView | undefined {
  const found = toBuffers(answer);
  const fields = new Map<string, Buffer>();
  for (let at = 0; at + 1 < found.length; at += 2) {
    const [field, value] = [found[at], found[at + 1]];
    if (field !== undefined && value !== undefined) fields.set(field.toString(), value);
  }
  return parseWholeView(fields);
}

export function closed(): HodeiError {
  return new HodeiError("unavailable", "the log store is closed");
}

export function toArray(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value as readonly unknown[];
  if (value instanceof Error) throw explain(value).error;
  throw new Error("Redis gave something else where a list was asked for");
}

export function toBuffers(value: unknown): readonly (Buffer | undefined)[] {
  return toArray(value).map((one) => (Buffer.isBuffer(one) ? one : undefined));
}

export function toBuffer(value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value;
  throw new Error("Redis gave something else where bytes were asked for");
}

async function explained<Answer>(answer: Promise<Answer>): Promise<Answer> {
  try {
    return await answer;
  } catch (cause) {
    throw explainedOf(cause);
  }
}

function explainedOf(cause: unknown): Error {
  const isForgotten = cause instanceof Error && cause.message.startsWith("NOSCRIPT");
  // The scripts are on their way again.
  if (isForgotten) return new HodeiError("unavailable", "Redis was started again", { cause });
  return explain(cause).error;
}
