import { setTimeout as wait } from "node:timers/promises";
import { applyObject, type ApplyOptions, InfrastructureError } from "./infrastructure-apply.ts";
import type { KubernetesObject } from "./infrastructure-parts.ts";

/** An API server hears of a new binding from the store, not at once. */
const heardOfMs = 10_000;
const firstPauseMs = 50;
const longestPauseMs = 1_000;

/** The caller's rights in one namespace: given by a binding once they turn out to be missing. */
export class OwnRights {
  readonly #binding: KubernetesObject;
  readonly #call: Omit<ApplyOptions, "force">;
  /** When new rights have to hold at last. */
  #until: number | undefined;

  constructor(binding: KubernetesObject, call: Omit<ApplyOptions, "force">) {
    this.#binding = binding;
    this.#call = call;
  }

  /** The outcome of the step; a step without rights is tried again with them. Rejects with the step's own error. */
  async with<Outcome>(step: () => Promise<Outcome>): Promise<Outcome> {
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
      try {
        return await step();
      } catch (error) {
        if (!lacksRights(error) || !(await this.#give())) throw error;
        await wait(pauseMs, undefined, this.#call.signal && { signal: this.#call.signal });
      }
    }
  }

  /** Whether it is worth while to try again. */
  async #give(): Promise<boolean> {
    if (this.#until !== undefined) return performance.now() < this.#until;
    this.#until = performance.now() + heardOfMs;
    try {
      const { outcome } = await applyObject(this.#binding, { ...this.#call, force: true });
      return outcome === "applied";
    } catch (error) {
      if (!(error instanceof InfrastructureError)) throw error;
      // Without it the step's own refusal says better what is missing.
      this.#until = 0;
      return false;
    }
  }
}

function lacksRights(error: unknown): boolean {
  return (
    error instanceof InfrastructureError &&
    (error.kind === "forbidden" || error.kind === "escalation")
  );
}
