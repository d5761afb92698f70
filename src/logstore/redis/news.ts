import type { Redis } from "ioredis";
import { every, type Loop } from "#every.ts";
import type { AttemptId } from "#job/id.ts";
import type { LogLink } from "./link.ts";

/** Changes that were missed are found out this late. */
const pollMs = 2_000;
const pulseMs = 5_000;

/** Whoever follows a log. */
export interface Watch extends Disposable {
  /** Grows with everything that may have changed the log. */
  readonly version: number;
  /** Resolves when it is not `seen` any more, or `signal` aborts; never rejects. */
  change(seen: number, signal: AbortSignal): Promise<void>;
}

interface Topic {
  version: number;
  users: number;
  readonly waiting: Set<() => void>;
}

/** Tells followers of changes: one connection that listens for all of them, and a slow poll, which makes a lost message harmless. */
export class News implements AsyncDisposable {
  readonly #link: LogLink;
  readonly #redis: Redis;
  readonly #topics = new Map<string, Topic>();
  readonly #poll: Loop;
  readonly #pulse: Loop;
  #isConnecting = false;

  constructor(link: LogLink) {
    this.#link = link;
    this.#redis = link.duplicate();
    this.#redis.on("error", () => undefined); // It tries again.
    this.#redis.on("message", (channel) => this.#tell(channel));
    // Whatever happened while there was no connection was missed.
    this.#redis.on("ready", () => this.tellAll());
    const options = { onError: () => undefined };
    this.#poll = every({ ...options, intervalMs: pollMs }, async () => this.tellAll());
    // Finds out when the other side is gone without a word.
    this.#pulse = every({ ...options, intervalMs: pulseMs }, async () => {
      if (this.#redis.status === "ready") await this.#redis.ping();
    });
  }

  watch(attempt: AttemptId): Watch {
    const channel = this.#link.keysOf(attempt).news;
    let topic = this.#topics.get(channel);
    if (topic === undefined) {
      topic = { version: 0, users: 0, waiting: new Set() };
      this.#topics.set(channel, topic);
      void this.#subscribe(channel);
    }
    topic.users++;
    return this.#watchOf(channel, topic);
  }

  tellAll(): void {
    for (const channel of this.#topics.keys()) this.#tell(channel);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#redis.disconnect();
    await this.#poll[Symbol.asyncDispose]();
    await this.#pulse[Symbol.asyncDispose]();
    this.tellAll();
  }

  #watchOf(channel: string, topic: Topic): Watch {
    return {
      get version() {
        return topic.version;
      },
      change: async (seen, signal) => {
        if (topic.version !== seen || signal.aborted) return;
        const { promise, resolve } = Promise.withResolvers<void>();
        topic.waiting.add(resolve);
        const wake = (): void => resolve();
        signal.addEventListener("abort", wake, { once: true });
        await promise;
        signal.removeEventListener("abort", wake);
        topic.waiting.delete(resolve);
      },
      [Symbol.dispose]: () => {
        if (--topic.users > 0) return;
        this.#topics.delete(channel);
        this.#redis.unsubscribe(channel).catch(() => undefined);
      },
    };
  }

  async #subscribe(channel: string): Promise<void> {
    try {
      if (!this.#isConnecting) {
        this.#isConnecting = true;
        await this.#redis.connect();
      }
      await this.#redis.subscribe(channel);
      this.#tell(channel); // What happened before was not heard.
    } catch {
      // The poll tells.
    }
  }

  #tell(channel: string): void {
    const topic = this.#topics.get(channel);
    if (topic === undefined) return;
    topic.version++;
    const waiting = [...topic.waiting];
    topic.waiting.clear();
    for (const resolve of waiting) resolve();
  }
}
