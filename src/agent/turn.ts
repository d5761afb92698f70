/** Pause between two deliveries of a busy agent. */
const pauseMs = 3;

/**
 * Gathers what is given in one turn of the event loop and hands it over once; when the last time was only just, it gathers for some
 * milliseconds more, because each message costs the server far more than what is in it.
 */
export class Turn<Item> {
  readonly #deliver: (items: Item[]) => void;
  #items: Item[] = [];
  #lastAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(deliver: (items: Item[]) => void) {
    this.#deliver = deliver;
  }

  add(item: Item): void {
    if (this.#items.push(item) > 1) return;
    const waitMs = this.#lastAt + pauseMs - performance.now();
    if (waitMs > 0) this.#timer = setTimeout(() => this.flush(), waitMs);
    else setImmediate(() => this.flush());
  }

  flush(): void {
    clearTimeout(this.#timer);
    const items = this.#items;
    this.#items = [];
    if (items.length === 0) return;
    this.#lastAt = performance.now();
    this.#deliver(items);
  }
}
