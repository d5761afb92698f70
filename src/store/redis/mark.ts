import type { Redis } from "ioredis";
import { randomBytes } from "node:crypto";

/** How long a mark stays when nothing is changed; it is trusted for half of that. */
export const markSeconds = 172_800;

/**
 * What this process was acknowledged, as a number that grows, kept by Redis beside the state: where Redis has less than was acknowledged, it has
 * lost something, such as in a failover to a replica that was behind.
 */
export class Mark {
  readonly id = randomBytes(9).toString("base64url");
  readonly #key: string;
  #last = 0;
  #acknowledged = 0;
  #acknowledgedAt = 0;

  constructor(prefix: string) {
    this.#key = `${prefix}mark:${this.id}`;
  }

  /** For a batch that is about to be sent. */
  next(): number {
    return ++this.#last;
  }

  /** That batch was answered, and has changed something. */
  acknowledge(number: number): void {
    this.#acknowledged = Math.max(this.#acknowledged, number);
    this.#acknowledgedAt = performance.now();
  }

  /** How many batches that were acknowledged are gone. */
  async countLost(redis: Redis): Promise<number> {
    const [before, at] = [this.#acknowledged, this.#acknowledgedAt];
    const found = Number((await redis.get(this.#key)) ?? 0);
    if (found >= before) return 0;
    if (performance.now() - at > (markSeconds / 2) * 1_000) return 0;
    // From here on that is how it is, so that it is told once.
    this.#acknowledged = Math.min(this.#acknowledged, found);
    return before - found;
  }
}
