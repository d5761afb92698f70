import type { WorkerId } from "#job/id.ts";

export interface LeaseOptions {
  /** Silence after which a worker is suspect. */
  readonly suspectMs: number;
  /** Time between two rounds. */
  readonly roundMs: number;
  /** Milliseconds of a clock that never jumps. */
  readonly monotonic: () => number;
}

/**
 * How long each worker has been silent. Time passes here only in rounds, and a round counts for little more than its interval however late it comes:
 * while this process stood still it could not hear anybody, so that time is nobody's silence (DESIGN G10).
 */
export class Leases {
  readonly #options: LeaseOptions;
  readonly #heardAt = new Map<WorkerId, number>();
  readonly #suspects = new Set<WorkerId>();
  /** Heard, and not silent since. */
  readonly #present = new Set<WorkerId>();
  #clock = 0;
  #roundAt: number;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#roundAt = options.monotonic();
  }

  /** Workers that are listened for. */
  get size(): number {
    return this.#heardAt.size;
  }

  /** The worker is alive; true when it was suspect. */
  hear(id: WorkerId): boolean {
    this.#heardAt.set(id, this.#clock);
    this.#present.add(id);
    return this.#suspects.size > 0 && this.#suspects.delete(id);
  }

  /** Whether it was heard within a lease. */
  isPresent(id: WorkerId): boolean {
    return this.#present.has(id);
  }

  /** Counts the silence of a worker that was not heard by this process from now on. */
  expect(id: WorkerId): void {
    if (!this.#heardAt.has(id)) this.#heardAt.set(id, this.#clock);
  }

  forget(id: WorkerId): void {
    this.#heardAt.delete(id);
    this.#suspects.delete(id);
    this.#present.delete(id);
  }

  /** Lets time pass; those that have become suspect in this round. */
  round(): readonly WorkerId[] {
    const now = this.#options.monotonic();
    const { roundMs, suspectMs } = this.#options;
    this.#clock += Math.min(now - this.#roundAt, roundMs * 1.5);
    this.#roundAt = now;
    const fresh: WorkerId[] = [];
    for (const [id, heardAt] of this.#heardAt) {
      if (this.#clock - heardAt <= suspectMs || this.#suspects.has(id)) continue;
      this.#suspects.add(id);
      this.#present.delete(id);
      fresh.push(id);
    }
    return fresh;
  }

  listSilent(): readonly { readonly workerId: WorkerId; readonly silentMs: number }[] {
    return Array.from(this.#suspects, (workerId) => ({
      workerId,
      silentMs: this.#clock - (this.#heardAt.get(workerId) ?? this.#clock),
    }));
  }
}
