import type { Attempt } from "./attempt.ts";
import { isFresh } from "./patience.ts";

export interface StartsOptions {
  readonly attempts: ReadonlyMap<string, Attempt>;
  /** When the server is known to have heard this agent, on the monotonic clock. */
  readonly contactAt: () => number;
  /** Asks the server for a sign of life; `confirm` follows. */
  readonly ask: () => void;
}

/**
 * Starts what the server said *go* for, one in a turn of the event loop: a spawn blocks the loop for milliseconds, and several in a row would
 * keep the ends of the earlier ones, and so the next assignments, waiting. An order that lay unread for longer than the tolerance (a stopped
 * agent) is asked about first, because another worker may have it by now: the answer is an acknowledged renewal, or *fenced*.
 */
export class Starts {
  readonly #options: StartsOptions;
  readonly #queue: string[] = [];
  readonly #doubtful = new Set<string>();

  constructor(options: StartsOptions) {
    this.#options = options;
  }

  add(id: string): void {
    if (this.#queue.push(id) === 1) setImmediate(() => this.#next());
  }

  /** The server has acknowledged a renewal. */
  confirm(): void {
    if (this.#doubtful.size === 0) return;
    const doubtful = [...this.#doubtful];
    this.#doubtful.clear();
    for (const id of doubtful) this.add(id);
  }

  #next(): void {
    const id = this.#queue[0];
    if (id !== undefined) this.#start(id);
    this.#queue.shift();
    if (this.#queue.length > 0) setImmediate(() => this.#next());
  }

  #start(id: string): void {
    const attempt = this.#options.attempts.get(id);
    if (attempt === undefined || !attempt.isWaiting) return;
    if (isFresh(attempt, this.#options.contactAt(), performance.now())) {
      attempt.start();
      return;
    }
    this.#doubtful.add(id);
    if (this.#doubtful.size === 1) this.#options.ask();
  }
}
