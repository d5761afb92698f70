import type { WorkerId } from "#job/id.ts";

/** Where a worker of this server's is. */
export interface Place {
  readonly namespace: string;
  /** Undefined until the create call has returned. */
  readonly uid: string | undefined;
  /** Whether its Secret may still be there. */
  readonly hasSecret: boolean;
}

const mostEnded = 20_000;

/** What this server knows of its workers by itself, and of those that are over; after a restart it knows nothing. */
export class Places {
  readonly #places = new Map<WorkerId, Place>();
  readonly #endedIds = new Set<WorkerId>();
  readonly #endedUids = new Set<string>();

  find(id: WorkerId): Place | undefined {
    return this.#places.get(id);
  }

  /** A start of that id begins, for the first time or anew. */
  begin(id: WorkerId, place: Place): void {
    this.#endedIds.delete(id);
    this.#places.set(id, place);
  }

  created(id: WorkerId, uid: string): void {
    const place = this.#places.get(id);
    if (place !== undefined) this.#places.set(id, { ...place, uid });
  }

  noteSecret(id: WorkerId, { hasSecret }: Pick<Place, "hasSecret">): void {
    const place = this.#places.get(id);
    if (place !== undefined) this.#places.set(id, { ...place, hasSecret });
  }

  forget(id: WorkerId): void {
    this.#places.delete(id);
  }

  /** Nothing of it runs any more, and never will. */
  ended(id: WorkerId, uid: string | undefined): void {
    this.#places.delete(id);
    remember(this.#endedIds, id);
    if (uid !== undefined) remember(this.#endedUids, uid);
  }

  hasEnded(id: WorkerId): boolean {
    return this.#endedIds.has(id);
  }

  isDead(uid: string): boolean {
    return this.#endedUids.has(uid);
  }
}

function remember<Value>(set: Set<Value>, value: Value): void {
  set.add(value);
  const [oldest] = set;
  if (set.size > mostEnded && oldest !== undefined) set.delete(oldest);
}
