import { every, type Loop } from "#every.ts";
import type { AttemptId } from "#job/id.ts";
import type { LogLink } from "./link.ts";
import { Listener } from "./listener.ts";

/** Changes that were missed are found out this late. */
const pollMs = 2_000;

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

/** Tells followers of changes: few connections that listen for all of them, and a slow poll, which makes a lost message harmless. */
export class News implements AsyncDisposable {
  readonly #link: LogLink;
  readonly #listener: Listener;
  readonly #topics = new Map<string, Topic>();
  readonly #poll: Loop;

  constructor(link: LogLink) {
    this.#link = link;
    this.#listener = new Listener({
      lanes: link.lanes,
      onTold: (channel) => this.#tell(channel),
      onMissed: () => this.tellAll(),
    });
    this.#poll = every({ onError: () => undefined, intervalMs: pollMs }, async () => {
      this.#listener.look();
      this.tellAll();
    });
  }

  watch(attempt: AttemptId): Watch {
    const channel = this.#link.keysOf(attempt).news;
    let topic = this.#topics.get(channel);
    if (topic === undefined) {
      topic = { version: 0, users: 0, waiting: new Set() };
      this.#topics.set(channel, topic);
      this.#listener.add(channel);
    }
    topic.users++;
    return this.#watchOf(channel, topic);
  }

  tellAll(): void {
    for (const channel of this.#topics.keys()) this.#tell(channel);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#poll[Symbol.asyncDispose]();
    await this.#listener[Symbol.asyncDispose]();
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
        this.#listener.remove(channel);
      },
    };
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
