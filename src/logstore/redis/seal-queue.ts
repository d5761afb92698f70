import type { AttemptId } from "#job/id.ts";
import type { Sealer } from "./seal.ts";
import type { WholeView } from "./view.ts";

export interface SealQueueOptions {
  readonly sealer: Pick<Sealer, "seal">;
  /** A log was sealed as far as was asked for. */
  readonly onSealed: (attempt: AttemptId, view: WholeView) => Promise<void>;
  readonly log: { warn(facts: object, message: string): void };
}

/** Logs that are sealed at the same time; each holds a segment in memory. */
const mostFlights = 4;
/** Logs that wait; others are found again. */
const mostWaiting = 10_000;
const firstPauseMs = 500;
const mostPauseMs = 30_000;

/** Seals logs one after another, each by itself, and waits a while when that fails. */
export class SealQueue implements AsyncDisposable {
  readonly #options: SealQueueOptions;
  /** What waits, and how many bytes of each may stay in its stream. */
  readonly #waiting = new Map<AttemptId, number>();
  readonly #flights = new Map<AttemptId, Promise<void>>();
  #failures = 0;
  #pause: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: SealQueueOptions) {
    this.#options = options;
  }

  /** Whether the last attempt at it worked. */
  get works(): boolean {
    return this.#failures === 0;
  }

  add(attempt: AttemptId, keepBytes: number): void {
    const known = this.#waiting.get(attempt);
    if (known === undefined && this.#waiting.size >= mostWaiting) return;
    this.#waiting.set(attempt, Math.min(keepBytes, known ?? keepBytes));
    this.#next();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#pause);
    await Promise.all(this.#flights.values());
  }

  #next(): void {
    if (this.#isClosed || this.#pause !== undefined) return;
    for (const [attempt, keepBytes] of this.#waiting) {
      if (this.#flights.size >= mostFlights) return;
      if (this.#flights.has(attempt)) continue;
      this.#waiting.delete(attempt);
      const flight = this.#seal(attempt, keepBytes).finally(() => {
        this.#flights.delete(attempt);
        this.#next();
      });
      this.#flights.set(attempt, flight);
    }
  }

  async #seal(attempt: AttemptId, keepBytes: number): Promise<void> {
    const { sealer, onSealed, log } = this.#options;
    try {
      const view = await sealer.seal(attempt, keepBytes);
      if (view !== undefined) await onSealed(attempt, view);
      if (this.#failures > 0) log.warn({}, "logs are sealed again");
      this.#failures = 0;
    } catch (error) {
      if (this.#isClosed) return;
      if (this.#failures === 0)
        log.warn({ err: error }, "logs cannot be sealed: they stay in Redis");
      this.#failures = Math.min(this.#failures + 1, 20);
      this.#waiting.set(attempt, keepBytes);
      const pauseMs = Math.min(mostPauseMs, firstPauseMs * 2 ** (this.#failures - 1));
      this.#pause ??= setTimeout(
        () => {
          this.#pause = undefined;
          this.#next();
        },
        pauseMs * (0.5 + Math.random() / 2),
      );
    }
  }
}
