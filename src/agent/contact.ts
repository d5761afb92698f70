/**
 * When the server was last known to hear this agent: the time at which the newest acknowledged renewal was *sent*, by the monotonic
 * clock. The server can only have counted from later, so an agent that stops by this never overlaps with a successor (DESIGN G9).
 */
export class Contact {
  #lastAt: number;
  #openedAt: number;
  #sequence = 0;
  readonly #sentAt = new Map<number, number>();

  constructor(now: number) {
    this.#lastAt = now;
    this.#openedAt = now;
  }

  get lastAt(): number {
    return this.#lastAt;
  }

  /** A new stream was opened; renewals count from 1 again. */
  open(now: number): void {
    this.#openedAt = now;
    this.#sequence = 0;
    this.#sentAt.clear();
  }

  /** The server has greeted. That renews nothing, so it counts only while there is nothing to renew. */
  welcome(hasAttempts: boolean): void {
    if (!hasAttempts) this.#lastAt = Math.max(this.#lastAt, this.#openedAt);
  }

  /** The number of the renewal that is sent now. */
  renew(now: number): number {
    this.#sequence++;
    this.#sentAt.set(this.#sequence, now);
    return this.#sequence;
  }

  acknowledge(sequence: number): void {
    for (const [number, sentAt] of this.#sentAt) {
      if (number > sequence) break;
      this.#lastAt = Math.max(this.#lastAt, sentAt);
      this.#sentAt.delete(number);
    }
  }
}
