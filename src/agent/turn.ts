/** Gathers what is given in one turn of the event loop and hands it over once. */
export class Turn<Item> {
  readonly #deliver: (items: Item[]) => void;
  #items: Item[] = [];

  constructor(deliver: (items: Item[]) => void) {
    this.#deliver = deliver;
  }

  add(item: Item): void {
    if (this.#items.push(item) === 1) setImmediate(() => this.flush());
  }

  flush(): void {
    const items = this.#items;
    this.#items = [];
    if (items.length > 0) this.#deliver(items);
  }
}
