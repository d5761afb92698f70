const mostWaiting = 10_000;

interface Follower<Event> {
  readonly events: Event[];
  wake: () => void;
}

/** Hands events to everybody who follows, from then on. A follower that falls far behind loses its oldest ones: listing tells the state. */
export class EventFeed<Event> {
  readonly #followers = new Set<Follower<Event>>();
  #isClosed = false;

  add(event: Event): void {
    for (const follower of this.#followers) {
      if (follower.events.push(event) > mostWaiting) follower.events.shift();
      follower.wake();
    }
  }

  /** Follows from the call on, not only from the first `next`. */
  follow(signal: AbortSignal): AsyncIterable<Event> {
    const follower: Follower<Event> = { events: [], wake: () => undefined };
    this.#followers.add(follower);
    return this.#run(follower, signal);
  }

  close(): void {
    this.#isClosed = true;
    for (const { wake } of this.#followers) wake();
  }

  async *#run(follower: Follower<Event>, signal: AbortSignal): AsyncGenerator<Event> {
    const onAbort = (): void => follower.wake();
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted && !this.#isClosed) {
        const { promise, resolve } = Promise.withResolvers<void>();
        follower.wake = resolve;
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
