import { Fifo } from "./fifo.ts";

/**
 * The queued jobs of one tenant, class and priority, by age. New jobs arrive in order and go into a ring; those that come back (a retry, a pause that
 * is over) go into a small heap; the older of the two heads is next. A job that leaves from the middle is skipped when its turn comes.
 */
export class Lane {
  readonly priority: number;
  readonly #fifo = new Fifo();
  readonly #returned = new Heap<number>((key) => key);
  readonly #removed = new Set<number>();
  /** Jobs that back off. */
  readonly waiting = new Set<number>();

  constructor(priority: number) {
    this.priority = priority;
  }

  /** Jobs that may be claimed. */
  get ready(): number {
    return this.#fifo.length + this.#returned.length - this.#removed.size;
  }

  add(key: number): void {
    // It was taken out of turn and comes back: its old place must not count any more.
    if (this.#removed.has(key)) this.#compact();
    const last = this.#fifo.last();
    if (last === undefined || key > last) this.#fifo.push(key);
    else this.#returned.push(key);
  }

  /** Adds a job without regard to order; `sort` puts it right. */
  load(key: number): void {
    this.#fifo.push(key);
  }

  sort(): void {
    this.#fifo.sort();
  }

  /** Takes out a job that may be claimed. */
  remove(key: number): void {
    this.#removed.add(key);
    if (this.#removed.size > 64 && this.#removed.size > this.ready) this.#compact();
  }

  /** The oldest job that may be claimed. */
  peek(): number | undefined {
    for (;;) {
      const head = this.#head();
      if (head === undefined || !this.#removed.delete(head)) return head;
      this.#drop(head);
    }
  }

  take(): number | undefined {
    const key = this.peek();
    if (key !== undefined) this.#drop(key);
    return key;
  }

  /** Jobs, backing off or not, that are older than this one. */
  countOlder(key: number): number {
    let count = this.#fifo.countBelow(key);
    for (const other of this.#returned.items) if (other < key) count++;
    for (const other of this.waiting) if (other < key) count++;
    for (const other of this.#removed) if (other < key) count--;
    return count;
  }

  /** Jobs that may be claimed, oldest first. */
  *keys(): Generator<number> {
    const returned = this.#returned.items.toSorted((one, other) => one - other);
    let next = 0;
    for (const key of this.#fifo.keys()) {
      for (let early = returned[next]; early !== undefined && early < key; early = returned[next]) {
        next++;
        if (!this.#removed.has(early)) yield early;
      }
      if (!this.#removed.has(key)) yield key;
    }
    for (const key of returned.slice(next)) if (!this.#removed.has(key)) yield key;
  }

  #head(): number | undefined {
    const first = this.#fifo.first();
    const returned = this.#returned.first();
    if (first === undefined || returned === undefined) return first ?? returned;
    return Math.min(first, returned);
  }

  #drop(key: number): void {
    if (this.#fifo.first() === key) this.#fifo.shift();
    else this.#returned.shift();
  }

  #compact(): void {
    const keys = [...this.keys()];
    this.#fifo.clear();
    this.#returned.clear();
    this.#removed.clear();
    for (const key of keys) this.#fifo.push(key);
  }
}

/** A binary heap; the item with the smallest rank comes first. */
export class Heap<Item> {
  readonly items: Item[] = [];
  readonly #rank: (item: Item) => number;

  constructor(rank: (item: Item) => number) {
    this.#rank = rank;
  }

  get length(): number {
    return this.items.length;
  }

  first(): Item | undefined {
    return this.items[0];
  }

  clear(): void {
    this.items.length = 0;
  }

  push(item: Item): void {
    let at = this.items.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#swapIfLess(at, parent)) return;
      at = parent;
    }
  }

  shift(): Item | undefined {
    const first = this.items[0];
    const last = this.items.pop();
    if (last === undefined || this.items.length === 0) return first;
    this.items[0] = last;
    for (let at = 0; ;) {
      const left = 2 * at + 1;
      const child = left + 1 < this.items.length && this.#isLess(left + 1, left) ? left + 1 : left;
      if (child >= this.items.length || !this.#swapIfLess(child, at)) return first;
      at = child;
    }
  }

  #isLess(one: number, other: number): boolean {
    const a = this.items[one];
    const b = this.items[other];
    return a !== undefined && b !== undefined && this.#rank(a) < this.#rank(b);
  }

  #swapIfLess(one: number, other: number): boolean {
    const a = this.items[one];
    const b = this.items[other];
    if (a === undefined || b === undefined || this.#rank(a) >= this.#rank(b)) return false;
    this.items[one] = b;
    this.items[other] = a;
    return true;
  }
}
