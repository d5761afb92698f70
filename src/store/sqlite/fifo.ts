const smallest = 16;

/** A queue of growing numbers: a ring of 8 bytes each. */
export class Fifo {
  #ring = new Float64Array(smallest);
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  first(): number | undefined {
    return this.#at(0);
  }

  last(): number | undefined {
    return this.#at(this.#length - 1);
  }

  push(key: number): void {
    if (this.#length === this.#ring.length) this.#resize(this.#length * 2);
    this.#ring[(this.#head + this.#length) % this.#ring.length] = key;
    this.#length++;
  }

  shift(): void {
    this.#head = (this.#head + 1) % this.#ring.length;
    this.#length--;
    const size = this.#ring.length;
    if (size > smallest && this.#length < size / 4) this.#resize(size / 2);
  }

  clear(): void {
    this.#ring = new Float64Array(smallest);
    this.#head = 0;
    this.#length = 0;
  }

  sort(): void {
    this.#resize(this.#ring.length);
    this.#ring.subarray(0, this.#length).sort();
  }

  /** How many are smaller than `key`. */
  countBelow(key: number): number {
    let low = 0;
    let high = this.#length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#at(middle) ?? Infinity) < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  *keys(): Generator<number> {
    for (let place = 0; place < this.#length; place++) {
      const key = this.#at(place);
      if (key !== undefined) yield key;
    }
  }

  #at(place: number): number | undefined {
    if (place < 0 || place >= this.#length) return undefined;
    return this.#ring[(this.#head + place) % this.#ring.length];
  }

  #resize(size: number): void {
    const ring = new Float64Array(size);
    const tail = this.#ring.subarray(this.#head, this.#head + this.#length);
    ring.set(tail);
    ring.set(this.#ring.subarray(0, this.#length - tail.length), tail.length);
    this.#ring = ring;
    this.#head = 0;
  }
}
