import { setTimeout as wait } from "node:timers/promises";

/** A running timer loop. */
export interface Loop extends AsyncDisposable {
  /** Runs the next round as soon as the present one is over. Waking twice is waking once. */
  wake(): void;
}

export interface LoopOptions {
  readonly intervalMs: number;
  /** Whatever a round throws. The next round starts from the store again, so nothing is lost by going on. */
  readonly onError: (error: unknown) => void;
}

/** Why a pause ends early. Without a reason of its own, an abort makes an exception with a stack each time, and loops are woken often. */
const woken = Symbol("woken");

/**
 * Runs `step` now and then every `intervalMs`, or earlier when woken; rounds never overlap.
 * Disposing aborts the signal that the step was given and resolves once the round under way is over.
 */
export function every(options: LoopOptions, step: (signal: AbortSignal) => Promise<void>): Loop {
  const stop = new AbortController();
  let pause = new AbortController();
  let isWoken = false;

  const rounds = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      isWoken = false;
      await step(stop.signal).catch((error: unknown) => {
        if (!stop.signal.aborted) options.onError(error);
      });
      if (isWoken || stop.signal.aborted) continue;
      pause = new AbortController();
      // The pause ends early by an abort; that is not an error.
      await wait(options.intervalMs, undefined, { signal: pause.signal }).catch(() => undefined);
    }
  };
  const running = rounds();

  return {
    wake() {
      if (isWoken) return;
      isWoken = true;
      pause.abort(woken);
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      pause.abort(woken);
      await running;
    },
  };
}
