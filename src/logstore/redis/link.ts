import { Redis } from "ioredis";
import { HodeiError } from "#error.ts";
import type { AttemptId } from "#job/id.ts";
import { connectionOptions, type Address } from "#store/redis/address.ts";
import { checkServer, type Wish } from "#store/redis/check.ts";
import { explain } from "#store/redis/fault.ts";
import { Flights, type Argument } from "./flights.ts";
import { logKeys, sharedKeys, type LogKeys, type SharedKeys } from "./keys.ts";
import { scripts, type ScriptName } from "./scripts.ts";
import { parseView, parseWholeView, viewFields, type LogView, type WholeView } from "./view.ts";

export interface LogLinkOptions extends Address {
  readonly instance: string;
  readonly isReplicated: boolean;
}

/**
 * The connections of a log store: one on which logs change, in the order of the calls, and one for readers, so that what they fetch delays no
 * acknowledgement. What is called in one turn of the event loop leaves together. Errors are explained.
 */
export class LogLink {
  readonly instance: string;
  readonly shared: SharedKeys;
  readonly #writer: Redis;
  readonly #reader: Redis;
  readonly #flights: Flights;
  #isClosed = false;

  constructor(options: LogLinkOptions) {
    this.instance = options.instance;
    this.shared = sharedKeys(options.instance);
    const connection = connectionOptions(options);
    this.#writer = new Redis(connection);
    this.#reader = new Redis(connection);
    this.#flights = new Flights({ redis: this.#writer, isReplicated: options.isReplicated });
    for (const redis of [this.#writer, this.#reader]) redis.on("error", () => undefined); // It tries again.
    // A server that was started again knows no scripts; these come before whatever is called.
    this.#writer.on("ready", () => {
      for (const { text } of Object.values(scripts)) {
        this.#writer.script("LOAD", text).catch(() => undefined);
      }
    });
  }

  /** Whether commands can be sent. */
  get isUp(): boolean {
    return !this.#isClosed && this.#writer.status === "ready";
  }

  /** Error: `failed_precondition` when the server may lose or evict what it has acknowledged, and nobody allowed that. */
  async connect(wish: Wish): Promise<void> {
    await explained(Promise.all([this.#writer.connect(), this.#reader.connect()]));
    await explained(checkServer(this.#reader, wish));
  }

  /** Listens on a connection of its own. */
  duplicate(): Redis {
    return this.#reader.duplicate({
      enableOfflineQueue: true,
      maxRetriesPerRequest: null,
      autoResubscribe: true,
      lazyConnect: true,
    });
  }

  keysOf(attempt: AttemptId): LogKeys {
    return logKeys(this.instance, attempt);
  }

  /** A command that may change something. */
  write(command: string, ...args: readonly Argument[]): Promise<unknown> {
    this.#assertOpen();
    return explained(this.#writer.callBuffer(command, ...args));
  }

  /** Error: `unavailable` when the outcome is unknown, `resource_exhausted` when Redis is full and nothing was changed. */
  run(name: ScriptName, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    return this.write("EVALSHA", scripts[name].hash, keys.length, ...keys, ...args);
  }

  /** A command that leaves with others, and is answered once it is as durable as was asked for. */
  writeDurably(command: string, ...args: readonly Argument[]): Promise<unknown> {
    this.#assertOpen();
    return explained(this.#flights.add(command, ...args));
  }

  /** `run`, with others and durably. */
  runDurably(
    name: ScriptName,
    keys: readonly string[],
    args: readonly Argument[],
  ): Promise<unknown> {
    return this.writeDurably("EVALSHA", scripts[name].hash, keys.length, ...keys, ...args);
  }

  read(command: string, ...args: readonly Argument[]): Promise<unknown> {
    this.#assertOpen();
    return explained(this.#reader.callBuffer(command, ...args));
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
    [command = "", ...args]: readonly Argument[],
  ): Promise<{ readonly view: LogView | undefined; readonly entries: unknown }> {
    const [entries, view] = await Promise.all([
      this.read(String(command), ...args),
      this.view(attempt),
    ]);
    return { view, entries };
  }

  close(): void {
    this.#isClosed = true;
    this.#writer.disconnect();
    this.#reader.disconnect();
  }

  #assertOpen(): void {
    if (this.#isClosed) throw closed();
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
    const isForgotten = cause instanceof Error && cause.message.startsWith("NOSCRIPT");
    // The scripts are on their way again.
    if (isForgotten) throw new HodeiError("unavailable", "Redis was started again", { cause });
    throw explain(cause).error;
  }
}
