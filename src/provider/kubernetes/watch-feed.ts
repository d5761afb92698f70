import type { ProviderEvent } from "#provider/provider.ts";

const mostWaiting = 10_000;

interface Follower {
  readonly events: ProviderEvent[];
  isBehind: boolean;
  wake: () => void;
}

/** Hands events to everybody who follows. One that falls far behind is told so by an error, and begins again with how things stand. */
export class WatchFeed {
  readonly #followers = new Set<Follower>();
  #isClosed = false;

  add(event: ProviderEvent): void {
    for (const follower of this.#followers) {
      if (follower.isBehind) continue;
      if (follower.events.push(event) > mostWaiting) {
        follower.isBehind = true;
        follower.events.length = 0;
      }
      follower.wake();
    }
  }

  /** Begins with `first`, and follows from the call on, not only from the first `next`. */
  follow(first: readonly ProviderEvent[], signal: AbortSignal): AsyncIterable<ProviderEvent> {
    const follower: Follower = { events: [...first], isBehind: false, wake: () => undefined };
    this.#followers.add(follower);
    return this.#run(follower, signal);
  }

  close(): void {
    this.#isClosed = true;
    for (const { wake } of this.#followers) wake();
  }

  async *#run(follower: Follower, signal: AbortSignal): AsyncGenerator<ProviderEvent> {
    const onAbort = (): void => follower.wake();
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted && !this.#isClosed) {
        const { promise, resolve } = Promise.withResolvers<void>();
        follower.wake = resolve;
        if (follower.isBehind) throw new Error("fell too far behind the pods' events");
        yield* follower.events.splice(0);
        // What was added while the caller was busy has resolved it already.
        if (follower.events.length === 0 && !signal.aborted && !this.#isClosed) await promise;
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#followers.delete(follower);
    }
  }
}
