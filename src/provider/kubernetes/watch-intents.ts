import type { WorkerId } from "#job/id.ts";

/** What this server has done about a worker, whether or not its pod was seen yet. */
export interface Intent {
  /** When the create call was about to be made; undefined: an earlier server's worker. */
  readonly startedAt?: number;
  readonly isConnected?: boolean;
  readonly isGoneExpected?: boolean;
}

const mostIntents = 50_000;

/** Intents of workers, those of the past forgotten when there are too many. */
export class Intents {
  readonly #intents = new Map<WorkerId, Intent>();

  get(id: WorkerId): Intent {
    return this.#intents.get(id) ?? {};
  }

  add(id: WorkerId, more: Intent): void {
    this.#intents.set(id, { ...this.#intents.get(id), ...more });
    const [oldest] = this.#intents.keys();
    if (this.#intents.size > mostIntents && oldest !== undefined) this.#intents.delete(oldest);
  }

  delete(id: WorkerId): void {
    this.#intents.delete(id);
  }
}
