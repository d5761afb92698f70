import type { JobId, WorkerId } from "#job/id.ts";
import type { StoreChange } from "#store/store.ts";
import { noteWorker } from "./attempts-rounds.ts";
import { Sharing, type SharingHooks } from "./attempts-sharing.ts";
import type { Ground } from "./attempts-side.ts";
import { Leases } from "./leases.ts";

export interface HearingOptions {
  readonly roundMs: number;
  /** A clock that never jumps, in milliseconds. */
  readonly monotonic: () => number;
  readonly hooks: Omit<SharingHooks, "heard">;
}

/** Who was heard, by this server or by another one on the same store, and for how long the others have been silent. */
export class Hearing {
  readonly #ground: Ground;
  readonly #leases: Leases;
  /** Undefined where the store is this server's own. */
  readonly #sharing: Sharing | undefined;
  readonly #forget: (id: WorkerId) => void;
  #isLeading: boolean;

  constructor(ground: Ground, { roundMs, monotonic, hooks }: HearingOptions) {
    const { replicas } = ground.store;
    this.#ground = ground;
    this.#leases = new Leases({ suspectMs: ground.limits.suspectMs, roundMs, monotonic });
    this.#forget = (id) => hooks.forget(id);
    const heard = (id: WorkerId): void => this.#heard(id);
    this.#sharing = replicas && new Sharing(ground, replicas, { ...hooks, heard });
    this.#isLeading = replicas === undefined;
  }

  /** Workers that are listened for. */
  get size(): number {
    return this.#leases.size;
  }

  /** Whether this server says who is silent, for all that share the store. */
  lead(isLeading: boolean): void {
    this.#isLeading = isLeading;
  }

  /** The worker was heard here. */
  hear(id: WorkerId): void {
    this.#sharing?.hear(id);
    this.#heard(id);
  }

  /** Whether another server heard it within a lease. */
  isElsewhere(id: WorkerId): boolean {
    return this.#sharing !== undefined && this.#leases.isPresent(id);
  }

  forget(id: WorkerId): void {
    this.#leases.forget(id);
  }

  listSilent(): ReturnType<Leases["listSilent"]> {
    return this.#leases.listSilent();
  }

  /** Another server has changed something. */
  follow({ kind, id }: StoreChange): void {
    switch (kind) {
      case "worker":
        return this.#sharing?.lookAtWorker(id as WorkerId);
      case "cancel":
        return this.#sharing?.lookAtJob(id as JobId);
      case "missed":
        return this.#sharing?.lookAtAll();
      case "class":
      case "job":
      case "provider":
      case "lead":
    }
  }

  /** Starts from the store and the clock each time, so that a round that fails costs nothing. */
  async round(): Promise<void> {
    const { store, count, log } = this.#ground;
    // After a start everybody gets the whole tolerance (DESIGN G10); one that redeemed its token and never connected is silent too.
    const workers = await store.listLiveWorkers();
    for (const { id, state } of workers) {
      if (state === "ready" || state === "draining") this.#leases.expect(id);
    }
    await this.#sharing?.exchange();
    await this.#sharing?.compare(workers);
    const live = new Set(workers.map(({ id }) => id));
    for (const workerId of this.#leases.round()) {
      // It has ended; another server may have heard it until then, and forgets it by itself.
      if (!live.has(workerId)) this.#forget(workerId);
      if (!this.#isLeading || !live.has(workerId)) continue;
      count("suspect");
      log.warn({ workerId }, "worker is silent");
      this.#note(workerId, "the worker is silent");
    }
    for (const { workerId } of this.#leases.listSilent()) {
      const worker = await store.findWorker(workerId);
      if (worker === undefined || worker.state === "ended") this.#forget(workerId);
    }
  }

  stop(): void {
    this.#sharing?.stop();
  }

  #heard(id: WorkerId): void {
    if (this.#leases.hear(id) && this.#isLeading) this.#note(id, "the worker is back");
  }

  #note(id: WorkerId, message: string): void {
    noteWorker(this.#ground, id, message).catch((error: unknown) => {
      this.#ground.log.warn({ workerId: id, err: error }, "stage was not stored");
    });
  }
}
