import type { WorkerId } from "#job/id.ts";
import type { Store } from "./store.ts";

/** One server process of several on a store. */
export interface Replica {
  readonly id: string;
  /** `host:port` where agents and clients reach it, as far as it knows. */
  readonly address: string;
  readonly startedAt: number;
}

export interface Lead {
  /** Grows with every change of the leader; the fencing token. */
  readonly term: number;
  /** Whose term it is. */
  readonly leader: string;
}

/** What the servers on one store need of each other. The store's own clock judges all times. */
export interface ReplicaStore {
  /** Says that this replica lives for another `ttlMs`; answers all that live, oldest first. */
  beat(replica: Replica, ttlMs: number): Promise<readonly Replica[]>;

  /** Forgets it at once. If it leads, as `resign`. */
  leave(id: string): Promise<void>;

  /**
   * Takes the lead where nobody has it, or renews it, for `ttlMs`; answers who leads now. A new leader begins a new term, which it tells the others; one whose
   * time ran out and that nobody followed goes on with its own.
   */
  lead(id: string, ttlMs: number): Promise<Lead>;

  /** Gives the lead up, which tells the others (`StoreChange` of kind "lead"). No change when another leads. */
  resign(id: string): Promise<void>;

  /**
   * The same store for the leader of a term: each of its changes is refused with `aborted` once another term has begun or the lead was given up, and changes
   * nothing. Reads go on, and so do its `replicas`. Disposing it does nothing.
   */
  ledBy(term: number): Store;

  /** These workers were heard just now; those that are over or unknown are passed over. */
  hear(ids: readonly WorkerId[]): Promise<void>;

  /**
   * Workers heard after the given position of the store's own counter, by whichever replica, each at the last time that it was heard; at most `limit`, oldest first.
   * `last` is where to go on. Those that are over are left out.
   */
  listHeard(
    after: number,
    limit: number,
  ): Promise<{ readonly ids: readonly WorkerId[]; readonly last: number }>;

  /** Keeps something small under a name unless there is something already; answers what is there now. */
  keep(name: string, value: Uint8Array): Promise<Uint8Array>;

  findKept(name: string): Promise<Uint8Array | undefined>;
}
