import type { Redis } from "ioredis";
import type { Batches, Step } from "./batches.ts";
import { explain } from "./fault.ts";
import type { Packable, Unpacked } from "./pack.ts";
import { toList, toText } from "./values.ts";

/** What the steps of a store go through. */
export class Link {
  readonly redis: Redis;
  readonly prefix: string;
  readonly #batches: Batches;
  readonly #term: number | undefined;

  constructor(batches: Batches, term?: number) {
    this.redis = batches.redis;
    this.prefix = batches.prefix;
    this.#batches = batches;
    this.#term = term;
  }

  /** The same, whose changes are refused unless that term lasts. Steps of both keep the order in which they were given. */
  ledBy(term: number): Link {
    return new Link(this.#batches, term);
  }

  /**
   * Errors: `unavailable` when the outcome is unknown, `resource_exhausted` when Redis is full and nothing was changed, `aborted` when the term is over and nothing was
   * changed.
   */
  step(name: string, ...args: readonly Packable[]): Promise<Unpacked> {
    return this.stepWith({ specs: [], texts: [] }, name, ...args);
  }

  /** A step with more than its arguments. */
  stepWith(
    more: Pick<Step, "specs" | "texts">,
    name: string,
    ...args: readonly Packable[]
  ): Promise<Unpacked> {
    return this.#batches.add({ name, args, term: this.#term, ...more });
  }

  specs(refs: readonly string[]): Promise<ReadonlyMap<string, Uint8Array>> {
    return this.#try(() => this.#batches.shelf.read(refs));
  }

  /** Deletes large specs whose jobs are gone; at most `limit`. Gives how many there were. */
  async discardSpecs(limit: number): Promise<number> {
    const refs = toList(await this.step("listTrash", limit)).map(toText);
    if (refs.length === 0) return 0;
    await this.#try(() => this.#batches.shelf.drop(refs));
    await this.step("dropTrash", refs);
    return refs.length;
  }

  async #try<Answer>(command: () => Promise<Answer>): Promise<Answer> {
    try {
      return await command();
    } catch (cause) {
      throw explain(cause).error;
    }
  }
}
