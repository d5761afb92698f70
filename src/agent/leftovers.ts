import { killMarked } from "./sweep.ts";

const pauseMs = 1_000;

/** Kills what jobs that ended by themselves left behind outside of their group: one scan per second for all of them, none when there were none. */
export class Leftovers {
  readonly #markers = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  add(marker: string): void {
    this.#markers.add(marker);
    this.#timer ??= setTimeout(() => this.sweep(), pauseMs);
  }

  sweep(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#markers.size > 0) killMarked([...this.#markers]);
    this.#markers.clear();
  }
}
