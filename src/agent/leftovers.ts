import { killMarked } from "./sweep.ts";

const pauseMs = 1_000;

/** Kills what jobs that ended by themselves left behind outside of their group: one scan per second for all of them, none when there were none. */
export class Leftovers {
  readonly #afterwards = new Map<string, () => void>();
  #timer: NodeJS.Timeout | undefined;

  /** `afterwards` is called when nothing with that marker is left. */
  add(marker: string, afterwards: () => void): void {
    this.#afterwards.set(marker, afterwards);
    this.#timer ??= setTimeout(() => this.sweep(), pauseMs);
  }

  sweep(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#afterwards.size > 0) killMarked([...this.#afterwards.keys()]);
    for (const afterwards of this.#afterwards.values()) afterwards();
    this.#afterwards.clear();
  }
}
