import type { Logger } from "#telemetry.ts";

/** Work that a round begins and does not wait for: at most one per key, at most `limit` at a time. */
export interface Tasks extends AsyncDisposable {
  readonly room: number;
  has(key: string): boolean;
  /** Runs `task` unless one with the key runs or there is no room; a later round tries again. Failures are logged. */
  run(key: string, task: (signal: AbortSignal) => Promise<void>): boolean;
  /** Resolves when nothing runs. */
  settled(): Promise<void>;
}

export function createTasks(options: {
  readonly limit: number;
  readonly log: Logger;
  readonly failure: string;
}): Tasks {
  const running = new Map<string, Promise<void>>();
  const stop = new AbortController();
  const settled = async (): Promise<void> => {
    while (running.size > 0) await Promise.all(running.values());
  };
  return {
    get room() {
      return stop.signal.aborted ? 0 : options.limit - running.size;
    },
    has: (key) => running.has(key),
    run(key, task) {
      if (stop.signal.aborted || running.has(key) || running.size >= options.limit) return false;
      const ending = task(stop.signal)
        .catch((error: unknown) => {
          // The next round starts from the store again, so nothing is lost by going on.
          if (!stop.signal.aborted) options.log.warn({ err: error, key }, options.failure);
        })
        .finally(() => running.delete(key));
      running.set(key, ending);
      return true;
    },
    settled,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await settled();
    },
  };
}
