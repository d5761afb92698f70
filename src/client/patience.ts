import { setTimeout as wait } from "node:timers/promises";
import { abortedError, isTransient, type HodeiClientError } from "./error.ts";

/** How long calls are tried again while the server cannot be reached. */
export interface RetryOptions {
  /** Tries after the first one of a call that may be repeated. Default 4. */
  readonly maxRetries?: number | undefined;
  /** Longest outage that follows, watches and submits sit out once the server has answered. Default 60 seconds. */
  readonly outageMs?: number | undefined;
}

export const retryDefaults = { maxRetries: 4, outageMs: 60_000 } as const;

const firstPauseMs = 100;
const longestPauseMs = 2_000;

/** Counts failures in a row, and says whether and when to try again. */
export class Patience {
  readonly #maxRetries: number;
  readonly #outageMs: () => number;
  #failures = 0;
  #since = 0;

  constructor(maxRetries: number, outageMs: () => number = () => 0) {
    this.#maxRetries = maxRetries;
    this.#outageMs = outageMs;
  }

  /** Something was received: the next failure is the first again. */
  reset(): void {
    this.#failures = 0;
  }

  /** Waits a jittered, growing pause; throws the error when it is final or there were too many. */
  async afterFailure(error: HodeiClientError, signal: AbortSignal | undefined): Promise<void> {
    const pauseMs = this.pauseAfter(error, Date.now());
    if (pauseMs === undefined) throw error;
    await pause(pauseMs, signal);
  }

  /** The pause before the next try; undefined when there is to be none. */
  pauseAfter(error: HodeiClientError, now: number): number | undefined {
    if (!isTransient(error)) return undefined;
    if (this.#failures === 0) this.#since = now;
    const isOver = this.#failures >= this.#maxRetries && now - this.#since >= this.#outageMs();
    this.#failures++;
    return isOver ? undefined : jittered(this.#failures);
  }
}

function jittered(failures: number): number {
  const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** (failures - 1));
  return pauseMs * (0.5 + Math.random() / 2);
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await wait(ms, undefined, { signal });
  } catch (error) {
    if (signal?.aborted === true) throw abortedError(signal);
    throw error;
  }
}
