const firstMs = 500;

/** Pauses between tries: full jitter below a ceiling that doubles. */
export class Backoff {
  readonly #places: number;
  #mostMs: number;
  #tries = 0;

  /** Who tries several places in turn has been to each of them before the pauses grow. */
  constructor(mostMs: number, places = 1) {
    this.#mostMs = mostMs;
    this.#places = places;
  }

  /** No pause is longer from now on. */
  bound(mostMs: number): void {
    this.#mostMs = mostMs;
  }

  /** The next pause in milliseconds. `random` is from 0 to 1. */
  next(random: number = Math.random()): number {
    const doublings = Math.min(30, Math.floor(this.#tries / this.#places));
    const ceiling = Math.min(this.#mostMs, firstMs * 2 ** doublings);
    this.#tries++;
    return Math.ceil(random * ceiling);
  }

  reset(): void {
    this.#tries = 0;
  }
}
