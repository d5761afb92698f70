/** Pauses between tries: full jitter below a ceiling that doubles. */
export class Backoff {
  readonly #firstMs: number;
  readonly #mostMs: number;
  #tries = 0;

  constructor(firstMs: number, mostMs: number) {
    this.#firstMs = firstMs;
    this.#mostMs = mostMs;
  }

  /** The next pause in milliseconds. `random` is from 0 to 1. */
  next(random: number = Math.random()): number {
    const ceiling = Math.min(this.#mostMs, this.#firstMs * 2 ** this.#tries);
    this.#tries = Math.min(this.#tries + 1, 30);
    return Math.ceil(random * ceiling);
  }

  reset(): void {
    this.#tries = 0;
  }
}
