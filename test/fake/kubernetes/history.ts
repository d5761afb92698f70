import type { Change, Objects } from "./objects.ts";

/** The changes that a watch can still go back to; older ones are forgotten. */
export class History implements Disposable {
  private readonly changes: Change[] = [];
  private readonly subscription: Disposable;
  private readonly objects: Objects;
  private floor: number;
  private size: number;

  constructor(objects: Objects, size: number) {
    this.objects = objects;
    this.size = size;
    this.floor = objects.revision;
    this.subscription = objects.subscribe((change) => {
      this.changes.push(change);
      this.trim();
    });
  }

  /** The first revision after which everything is known. */
  get oldest(): number {
    return this.floor;
  }

  /** Undefined if something since then is forgotten. */
  since(revision: number): readonly Change[] | undefined {
    if (revision < this.floor) return undefined;
    // Backwards: most ask for what has just been.
    let start = this.changes.length;
    while (start > 0 && (this.changes[start - 1]?.revision ?? 0) > revision) start -= 1;
    return this.changes.slice(start);
  }

  /** From now on only so many changes are kept. */
  resize(size: number): void {
    this.size = size;
    this.trim();
  }

  /** Forgets all there is: every watch from an earlier revision is answered 410. */
  compact(): void {
    this.changes.length = 0;
    this.floor = this.objects.revision;
  }

  [Symbol.dispose](): void {
    this.subscription[Symbol.dispose]();
  }

  private trim(): void {
    // Not one by one: a shift of a long array is slow.
    if (this.changes.length <= Math.max(this.size * 1.25, this.size + 1) - 1) return;
    const gone = this.changes.splice(0, this.changes.length - this.size);
    this.floor = gone.at(-1)?.revision ?? this.floor;
  }
}
