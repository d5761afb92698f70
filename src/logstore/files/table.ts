import type { AttemptId } from "#job/id.ts";

/** Where an archived log is: the number of its file, and its place in that file's index. */
export interface Slot {
  readonly file: number;
  readonly index: number;
}

const removed = 0xffff_ffff;
const width = 4;

/**
 * Which file an archived log may be in, in 32 bytes a log and less: attempt ids are random, so 60 bits of them are the hash. Whoever looks up
 * compares the whole id in the file.
 */
export class SlotTable {
  /** Two words of the id, the file (zero: free) and the index. */
  #words = new Uint32Array(1024 * width);
  #used = 0;

  add(attempt: AttemptId, { file, index }: Slot): void {
    if (this.#used * 2 * width >= this.#words.length) this.#grow();
    const low = word(attempt, 1);
    this.#put([low, word(attempt, 7), file, index]);
  }

  /** Files that may hold the attempt; nearly always none or one. */
  find(attempt: AttemptId): Slot[] {
    const words = this.#words;
    const low = word(attempt, 1);
    const high = word(attempt, 7);
    const found: Slot[] = [];
    for (let at = this.#start(low); words[at + 2] !== 0; at = (at + width) % words.length) {
      const file = words[at + 2] ?? 0;
      if (words[at] === low && words[at + 1] === high && file !== removed) {
        found.push({ file, index: words[at + 3] ?? 0 });
      }
    }
    return found;
  }

  /** Forgets all logs of a file. */
  remove(file: number): void {
    for (let at = 2; at < this.#words.length; at += width) {
      if (this.#words[at] === file) this.#words[at] = removed;
    }
  }

  #grow(): void {
    const old = this.#words;
    let kept = 0;
    for (let at = 2; at < old.length; at += width) {
      if (old[at] !== 0 && old[at] !== removed) kept++;
    }
    let size = 1024;
    while (size < kept * 4) size *= 2;
    this.#words = new Uint32Array(size * width);
    this.#used = 0;
    for (let at = 0; at < old.length; at += width) {
      const file = old[at + 2] ?? 0;
      if (file !== 0 && file !== removed) this.#put([...old.subarray(at, at + width)]);
    }
  }

  #put(entry: readonly number[]): void {
    const words = this.#words;
    let at = this.#start(entry[0] ?? 0);
    while (words[at + 2] !== 0) at = (at + width) % words.length;
    words.set(entry, at);
    this.#used++;
  }

  #start(low: number): number {
    return (low & (this.#words.length / width - 1)) * width;
  }
}

/** Six characters of an id, of five bits each. */
function word(attempt: AttemptId, from: number): number {
  let bits = 0;
  for (let at = from; at < from + 6; at++) {
    bits = bits * 32 + "0123456789abcdefghjkmnpqrstvwxyz".indexOf(attempt.charAt(at));
  }
  return bits;
}
