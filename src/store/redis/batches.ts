import type { Redis } from "ioredis";
import { HodeiError } from "#error.ts";
import { prefixOf, type Connection } from "./connect.ts";
import { explain, faultOf } from "./fault.ts";
import { Mark } from "./mark.ts";
import { pack, unpack, type Packable, type Unpacked } from "./pack.ts";
import { scriptFor, scripts } from "./script.ts";
import type { LargeSpec, Shelf } from "./specs.ts";

/** Batches that may be on their way at the same time. */
const maxFlights = 4;
/** Bounds of one batch, so that no script holds up the others for long. */
const maxSteps = 256;
const maxBytes = 1024 * 1024;

/** Steps that change nothing that anybody could see. */
const reads = /^(find|list|scan|count|read)/;

export interface BatchOptions {
  readonly instance: string;
  /** How long a replica may take to confirm; undefined: none has to. */
  readonly replicaMs: number | undefined;
  readonly maxEvents: number;
  readonly weights: Readonly<Record<string, number>>;
}

/** A step as it is given. */
export interface Step {
  readonly name: string;
  readonly args: readonly Packable[];
  /** The term that it is bound to, if any. */
  readonly term: number | undefined;
  /** Large specs that come with it: they and what it does are there, or neither is. */
  readonly specs: readonly LargeSpec[];
  /** Texts that it only keeps, beside its arguments. */
  readonly texts: readonly Buffer[];
}

interface Pending {
  readonly specs: readonly LargeSpec[];
  readonly texts: readonly Buffer[];
  readonly name: string;
  readonly term: string;
  readonly args: Buffer;
  readonly resolve: (answer: Unpacked) => void;
  readonly reject: (error: Error) => void;
}

/** Gathers the steps of one turn of the event loop into one script, which does them in their order. */
export class Batches {
  readonly redis: Redis;
  readonly shelf: Shelf;
  readonly instance: string;
  readonly prefix: string;
  readonly #head: Buffer;
  readonly #mark: Mark;
  readonly #replicaMs: number | undefined;
  #gathered: Pending[] = [];
  #flights = 0;
  #isScheduled = false;
  /** Whether a batch waits for its large specs to be stored. What comes behind it waits too, so that all keep their order. */
  #isPutting = false;
  #isClosing = false;
  #onIdle: (() => void) | undefined;

  constructor({ redis, shelf }: Connection, options: BatchOptions) {
    this.redis = redis;
    this.shelf = shelf;
    this.instance = options.instance;
    this.prefix = prefixOf(options.instance);
    this.#replicaMs = options.replicaMs;
    this.#mark = new Mark(this.prefix);
    this.#head = pack([options.maxEvents, Object.entries(options.weights)]);
  }

  /** Gives Redis the scripts, so that no first step has to be sent twice. */
  async load(): Promise<void> {
    const args = [1, this.prefix, this.#head, this.#mark.id, 0];
    await Promise.all(scripts.map(({ text }) => this.redis.callBuffer("EVAL", text, ...args)));
  }

  add({ name, args, term, specs, texts }: Step): Promise<Unpacked> {
    const { promise, resolve, reject } = Promise.withResolvers<Unpacked>();
    if (this.#isClosing) reject(new HodeiError("unavailable", "the store is closed"));
    else {
      const bound = term === undefined || reads.test(name) ? "" : String(term);
      const given = { specs, texts, name, term: bound, args: pack(args) };
      this.#gathered.push({ ...given, resolve, reject });
      this.#schedule();
    }
    return promise;
  }

  /** How many batches that were acknowledged are gone since it was last asked. */
  countLost(): Promise<number> {
    return this.#mark.countLost(this.redis);
  }

  /** Waits for what was called before. */
  async close(): Promise<void> {
    this.#isClosing = true;
    if (this.#flights === 0 && this.#gathered.length === 0) return;
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
  }

  #schedule(): void {
    if (this.#isScheduled || this.#flights >= maxFlights || this.#isPutting) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      while (this.#gathered.length > 0 && this.#flights < maxFlights && !this.#isPutting) {
        void this.#fly();
      }
    });
  }

  async #fly(): Promise<void> {
    const batch = this.#takeBatch();
    this.#flights++;
    try {
      const specs = batch.flatMap((pending) => pending.specs);
      if (this.shelf.isApart && specs.length > 0) await this.#putApart(specs);
      const answers = await this.#run(batch, this.shelf.isApart ? [] : specs);
      for (const [at, pending] of batch.entries()) settle(pending, answers[at]);
    } catch (cause) {
      const error = explain(cause);
      // What waits behind a stalled server would wait too long.
      const late = error.isStalled ? this.#gathered.splice(0) : [];
      for (const pending of [...batch, ...late]) pending.reject(error.error);
    } finally {
      this.#flights--;
      if (this.#gathered.length > 0) this.#schedule();
      else if (this.#flights === 0) this.#onIdle?.();
    }
  }

  #takeBatch(): Pending[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#gathered.length && count < maxSteps && bytes < maxBytes) {
      bytes += bytesOf(this.#gathered[count]);
      count++;
    }
    return this.#gathered.splice(0, count);
  }

  /** They are noted first, so that those whose job never came to be are found and deleted later. */
  async #putApart(specs: readonly LargeSpec[]): Promise<void> {
    this.#isPutting = true;
    try {
      const now = Date.now();
      const noted = specs.flatMap(({ ref }) => [now, ref]);
      await this.redis.zadd(`${this.prefix}put`, ...noted);
      await Promise.all(specs.map((spec) => this.shelf.put(spec)));
    } finally {
      this.#isPutting = false;
      // The script of this batch is sent before anything that is scheduled now.
      this.#schedule();
    }
  }

  async #run(batch: readonly Pending[], specs: readonly LargeSpec[]): Promise<readonly unknown[]> {
    const steps = batch.flatMap(({ name, term, args, texts }) => {
      return [name, term, texts.length, args, ...texts];
    });
    const number = this.#mark.next();
    const args = [1, this.prefix, this.#head, this.#mark.id, number, ...steps];
    const isConfirmed = !batch.every(({ name }) => reads.test(name));
    const send = (command: "EVALSHA" | "EVAL", what: string) => {
      const call = [what, ...args];
      const answers =
        specs.length === 0
          ? this.redis.callBuffer(command, ...call)
          : this.#transact(specs, [command, ...call]);
      return isConfirmed && this.#replicaMs !== undefined
        ? this.#confirm(answers, this.#replicaMs)
        : answers;
    };
    const script = scriptFor(batch);
    const answers = await send("EVALSHA", script.hash).catch((error: unknown) => {
      if (error instanceof Error && error.message.startsWith("NOSCRIPT")) {
        return send("EVAL", script.text);
      }
      throw error;
    });
    if (!Array.isArray(answers)) throw new Error("Redis did not answer with a list");
    const [hasChanged] = unpack(answers.pop() as Buffer);
    if (hasChanged === true) this.#mark.acknowledge(number);
    return answers as readonly unknown[];
  }

  /** All of it or nothing, also when Redis has no room for the last spec. */
  async #transact(
    specs: readonly LargeSpec[],
    [command = "", ...args]: readonly (string | number | Buffer)[],
  ): Promise<unknown> {
    const { redis } = this;
    // Written in one go, so that nothing else comes between.
    const replies = await Promise.all([
      redis.call("MULTI"),
      ...specs.map((spec) => this.shelf.put(spec)),
      redis.callBuffer(String(command), ...args),
      redis.callBuffer("EXEC"),
    ]);
    const done: unknown = replies.at(-1);
    const answers: unknown = Array.isArray(done) ? done.at(-1) : undefined;
    if (answers instanceof Error) throw answers;
    return answers;
  }

  async #confirm(answers: Promise<unknown>, replicaMs: number): Promise<unknown> {
    // Sent right behind the script, so that it waits for just that.
    const [done, replicas] = await Promise.all([answers, this.redis.wait(1, replicaMs)]);
    if (replicas >= 1) return done;
    throw new HodeiError("unavailable", "no replica of Redis confirmed; the outcome is unknown");
  }
}

function bytesOf(pending: Pending | undefined): number {
  if (pending === undefined) return 0;
  const texts = pending.texts.reduce((sum, text) => sum + text.length, pending.args.length);
  return pending.specs.reduce((sum, spec) => sum + spec.bytes.length, texts);
}

/** A step that gives texts answers with a list: its answer, and the texts behind it. */
function settle(pending: Pending, given: unknown): void {
  try {
    const [bytes, ...texts] = Array.isArray(given) ? (given as readonly unknown[]) : [given];
    if (!Buffer.isBuffer(bytes) || !texts.every(isBuffer)) {
      throw new Error(`Redis gave no answer to ${pending.name}`);
    }
    const [answer] = unpack(bytes);
    if (answer === undefined) throw new Error(`Redis gave an empty answer to ${pending.name}`);
    const fault = faultOf(answer);
    if (fault !== undefined) pending.reject(fault);
    else pending.resolve(Array.isArray(given) ? [answer, texts] : answer);
  } catch (error) {
    pending.reject(error instanceof Error ? error : new Error(String(error)));
  }
}

function isBuffer(value: unknown): value is Buffer {
  return Buffer.isBuffer(value);
}
