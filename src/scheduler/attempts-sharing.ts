import type { AttemptId, JobId, WorkerId } from "#job/id.ts";
import type { Job } from "#job/job.ts";
import type { ReplicaStore, Store } from "#store/store.ts";
import { type Worker, takesAttempts } from "#worker/worker.ts";
import { currentAttempt, type Ground, type Side } from "./attempts-side.ts";

/** What happens here because of what others did. */
export interface SharingHooks {
  readonly sides: ReadonlyMap<WorkerId, Side>;
  /** A worker was heard, here or by another replica. */
  heard(id: WorkerId): void;
  forget(id: WorkerId): void;
  /** Its newest connection is another replica's. */
  moved(side: Side): void;
  drain(id: WorkerId, reason: string): void;
  cancel(job: Job): void;
  fence(workerId: WorkerId, attemptId: AttemptId): void;
}

export type SharingGround = Pick<Ground, "log"> & {
  readonly store: Pick<Store, "findWorker" | "findJob">;
};
export type SharingStore = Pick<ReplicaStore, "hear" | "listHeard">;

/** Ids in one answer. */
const heardPage = 1_000;
/** Every so many rounds the store is asked about all that is held here, so that a lost message costs no more. */
const roundsPerLook = 5;
const momentMs = 50;

/** Keeps what one replica knows of its workers in step with the store and the other replicas. */
export class Sharing {
  readonly #ground: SharingGround;
  readonly #replicas: SharingStore;
  readonly #hooks: SharingHooks;
  /** Heard here since the last round. */
  readonly #heard = new Set<WorkerId>();
  /** Up to where it was read whom others heard. */
  #position = 0;
  #roundsUntilLook = roundsPerLook;
  readonly #looks = new Map<WorkerId, NodeJS.Timeout>();

  constructor(ground: SharingGround, replicas: SharingStore, hooks: SharingHooks) {
    this.#ground = ground;
    this.#replicas = replicas;
    this.#hooks = hooks;
  }

  /** The worker was heard here; the others are told in the next round. */
  hear(id: WorkerId): void {
    this.#heard.add(id);
  }

  lookAtAll(): void {
    this.#roundsUntilLook = 0;
  }

  /** Tells whom this replica heard, and hears whom all of them did. A round that fails is made up for by the next one. */
  async exchange(): Promise<void> {
    const here = [...this.#heard];
    if (here.length > 0) await this.#replicas.hear(here);
    for (const id of here) this.#heard.delete(id);
    for (;;) {
      const { ids, last } = await this.#replicas.listHeard(this.#position, heardPage);
      this.#position = last;
      for (const id of ids) this.#hooks.heard(id);
      if (ids.length < heardPage) return;
    }
  }

  /** Compares what is held here with the live workers and, now and then, with the attempts of the store. */
  async compare(live: readonly Worker[]): Promise<void> {
    const known = new Map(live.map((worker) => [worker.id, worker]));
    for (const side of this.#hooks.sides.values()) {
      const worker = known.get(side.id);
      // One that the list does not have may have come while it was read.
      this.#follow(side, worker ?? (await this.#ground.store.findWorker(side.id)));
    }
    if (--this.#roundsUntilLook > 0) return;
    this.#roundsUntilLook = roundsPerLook;
    const jobs = new Set<JobId>();
    for (const side of this.#hooks.sides.values()) {
      for (const { jobId } of side.attempts.values()) jobs.add(jobId);
    }
    await Promise.all(Array.from(jobs, (id) => this.#compareJob(id)));
  }

  /** What this replica does itself is told too, again and again, so that one look answers for all of a moment. */
  lookAtWorker(id: WorkerId): void {
    if (!this.#hooks.sides.has(id) || this.#looks.has(id)) return;
    const look = setTimeout(() => {
      this.#looks.delete(id);
      const side = this.#hooks.sides.get(id);
      if (side === undefined) return;
      this.#ground.store
        .findWorker(id)
        .then((worker) => this.#follow(side, worker))
        .catch((err: unknown) => {
          // The next round compares all of them.
          this.#ground.log.debug({ workerId: id, err }, "cannot look at a worker");
        });
    }, momentMs).unref();
    this.#looks.set(id, look);
  }

  stop(): void {
    for (const look of this.#looks.values()) clearTimeout(look);
    this.#looks.clear();
  }

  /** Its attempt may have been ended by another replica, or is to be cancelled. */
  lookAtJob(id: JobId): void {
    this.#compareJob(id).catch((err: unknown) => {
      // A later round looks at all of them.
      this.#ground.log.warn({ jobId: id, err }, "cannot look at a job that another server changed");
    });
  }

  async #compareJob(id: JobId): Promise<void> {
    const held = [...this.#hooks.sides.values()].flatMap((side) =>
      Array.from(side.attempts.values(), (attempt) => ({ side, attempt })).filter(
        ({ attempt }) => attempt.jobId === id,
      ),
    );
    if (held.length === 0) return;
    const job = await this.#ground.store.findJob(id);
    for (const { side, attempt } of held) {
      // What is being stored here is answered by the store.
      if (attempt.phase === "waiting" || attempt.phase === "storing") continue;
      if (side.attempts.get(attempt.attemptId) !== attempt) continue;
      if (job === undefined || currentAttempt(job, side.id)?.attemptId !== attempt.attemptId) {
        this.#hooks.fence(side.id, attempt.attemptId);
      } else if (job.state === "cancelling" && !attempt.isCancelTold) this.#hooks.cancel(job);
    }
  }

  #follow(side: Side, worker: Worker | undefined): void {
    const hooks = this.#hooks;
    if (hooks.sides.get(side.id) !== side) return;
    if (worker === undefined || worker.state === "ended") hooks.forget(side.id);
    else if (side.link !== undefined && worker.connection > side.connection) hooks.moved(side);
    else if (side.takesWork && !takesAttempts(worker.state)) hooks.drain(side.id, worker.reason);
  }
}
