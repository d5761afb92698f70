import { HodeiError } from "#error.ts";
import { type Loop, every } from "#every.ts";
import type { Failure } from "#job/failure.ts";
import type { AttemptId, WorkerId } from "#job/id.ts";
import type { Job } from "#job/job.ts";
import type { LogStore } from "#logstore/logstore.ts";
import type { Store, StoreChange } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import { type Worker, takesAttempts } from "#worker/worker.ts";
import { forgotten, readCurrent, loseJobs, reconcile } from "./attempts-connect.ts";
import { LiveConnection } from "./attempts-connection.ts";
import { Finishes } from "./attempts-finish.ts";
import { Hearing } from "./attempts-hearing.ts";
import { appendHeld, ofTenant } from "./attempts-logs.ts";
import { checkHeld, drainSide } from "./attempts-rounds.ts";
import {
  type AttemptCount,
  type AttemptLimits,
  attemptLimits,
  currentAttempt,
  findHeld,
  type Ground,
  Side,
  signal,
} from "./attempts-side.ts";
import { Starts } from "./attempts-starts.ts";
import { Dispatch } from "./dispatch.ts";
import type {
  AttemptBatch,
  Attempts,
  AttemptStats,
  Connection,
  JobWatch,
  WorkerHello,
  WorkerLink,
} from "./scheduler.ts";

export interface AttemptsOptions {
  readonly store: Store;
  readonly logStore: LogStore;
  readonly watch: JobWatch;
  readonly readSpec: Ground["readSpec"];
  readonly log: Logger;
  readonly limits?: Partial<AttemptLimits>;
  readonly count?: (what: AttemptCount) => void;
  /** A worker has said that it leaves, and is stopping in the store. */
  readonly onLeave?: (id: WorkerId) => void;
  /** Wall clock, in milliseconds since 1970. */
  readonly now?: () => number;
  /** A clock that never jumps, in milliseconds. */
  readonly monotonic?: () => number;
  /** From 0 (inclusive) to 1 (exclusive). */
  readonly random?: () => number;
}

/** Starts to hand out jobs to the workers that connect, and to judge their silence. Disposing closes their connections; what runs goes on. */
export function startAttempts(options: AttemptsOptions): Attempts {
  return new RunningAttempts(options);
}

class RunningAttempts implements Attempts {
  readonly #ground: Ground;
  readonly #dispatch: Dispatch;
  readonly #starts: Starts;
  readonly #finishes: Finishes;
  readonly #hearing: Hearing;
  readonly #sides = new Map<WorkerId, Side>();
  readonly #onLeave: (id: WorkerId) => void;
  readonly #loop: Loop;
  #isStopped = false;
  #epochs = 0;

  constructor(options: AttemptsOptions) {
    const limits = { ...attemptLimits, ...options.limits };
    const { store, logStore, watch, readSpec, log } = options;
    const { now = Date.now, random = Math.random, count = () => undefined } = options;
    const monotonic = options.monotonic ?? (() => performance.now());
    this.#ground = { store, logStore, watch, readSpec, log, now, random, count, limits };
    this.#dispatch = new Dispatch(this.#ground);
    this.#starts = new Starts(this.#ground);
    this.#finishes = new Finishes(this.#ground, this.#dispatch, this.#starts);
    const roundMs = Math.min(3_000, Math.max(10, limits.suspectMs / 10));
    this.#hearing = new Hearing(this.#ground, {
      roundMs,
      monotonic,
      hooks: {
        sides: this.#sides,
        forget: (id) => this.forgetWorker(id),
        moved: (side) => this.#replace(side),
        drain: (id, reason) => this.signalDrain(id, reason),
        cancel: (job) => this.signalCancel(job, "cancelled"),
        fence: (workerId, attemptId) => this.fenceAttempt(workerId, attemptId),
      },
    });
    this.#onLeave = options.onLeave ?? (() => undefined);
    const onError = (error: unknown): void => log.warn({ err: error }, "lease round failed");
    this.#loop = every({ intervalMs: roundMs, onError }, async () => this.#round());
  }

  async connect(worker: Worker, hello: WorkerHello, link: WorkerLink): Promise<Connection> {
    if (this.#isStopped) throw new HodeiError("unavailable", "the server is stopping");
    const side = this.#sideOf(worker.id, worker.classKey);
    const epoch = ++this.#epochs;
    const older = side.link ?? side.opening;
    if (older !== undefined) {
      this.#ground.count("replaced");
      older.close("replaced");
    }
    this.#detach(side, epoch);
    side.opening = link;
    side.isDrained = false;
    this.#hearing.hear(worker.id);
    const writes = { starts: this.#starts, finishes: this.#finishes };
    const connection = new LiveConnection(this.#ground, writes, {
      side,
      epoch,
      hear: () => this.#hearing.hear(worker.id),
      claim: () => void this.#dispatch.claim(side),
      drain: (notice) => drainSide(this.#ground, side, notice),
      leave: (reason) => this.#leave(side, reason),
      close: () => this.#close(side, epoch),
    });
    // What was claimed for the older connection, or is being lost, must be in the store before it is compared with what the agent holds.
    await side.writes;
    const slots = Math.max(1, Math.min(hello.slots, worker.slots, this.#ground.limits.maxSlots));
    const { store } = this.#ground;
    const said = store.recordHello(worker.id, { slots, hostname: hello.hostname });
    const [number, known] = await Promise.all([said, store.findWorker(worker.id)]);
    const jobs = known === undefined ? [] : await readCurrent(this.#ground, known);
    if (side.epoch !== epoch) return connection;
    if (known === undefined || known.state === "ended") {
      this.forgetWorker(worker.id);
      link.close("over");
      return connection;
    }
    if (known.connection > number) {
      // Another replica has a newer one already.
      link.close("replaced");
      return connection;
    }
    const { lost } = reconcile(this.#ground, side, { hello, jobs, link });
    side.connection = number;
    side.slots = slots;
    side.tenant = known.tenant;
    side.jobsLeft = known.maxJobs - known.attempts;
    side.takesWork = takesAttempts(known.state) && !side.isDrained;
    side.link = link;
    side.opening = undefined;
    for (const say of side.signals.splice(0)) say(link);
    if (!side.takesWork) link.drain(known.reason);
    this.#dispatch.enlist(side);
    void this.#dispatch.claim(side);
    if (lost.length > 0) {
      const failure = forgotten(worker);
      loseJobs(this.#ground, this.#finishes, { side, jobs: lost, failure }).catch((error) => {
        this.#ground.log.error({ workerId: worker.id, err: error }, "attempts were not ended");
      });
    }
    return connection;
  }

  isConnected(id: WorkerId): boolean {
    return this.#sides.get(id)?.link !== undefined || this.#hearing.isElsewhere(id);
  }

  wake(classKeys: ReadonlySet<string>): void {
    for (const classKey of classKeys) this.#dispatch.wake(classKey);
  }

  signalCancel(job: Job, reason: string): void {
    const attempt = job.attempts.at(-1);
    const side = attempt && this.#sides.get(attempt.workerId);
    if (attempt === undefined || side === undefined) return;
    const { cancelGraceMs } = this.#ground.readSpec(job.spec);
    const held = side.attempts.get(attempt.id);
    if (held !== undefined) held.isCancelTold = true;
    signal(side, (link) => link.cancel(attempt.id, cancelGraceMs, reason));
  }

  signalDrain(id: WorkerId, reason: string): void {
    const side = this.#sides.get(id);
    if (side === undefined) return;
    side.takesWork = false;
    side.isDrained = true;
    side.link?.drain(reason);
  }

  fenceAttempt(workerId: WorkerId, attemptId: AttemptId): void {
    const side = this.#sides.get(workerId);
    if (side === undefined) return;
    const held = side.attempts.get(attemptId);
    if (held?.phase === "storing") return;
    side.attempts.delete(attemptId);
    this.#ground.count("fenced");
    signal(side, (link) => {
      side.attempts.delete(attemptId);
      link.fence(attemptId);
    });
    void this.#dispatch.claim(side);
  }

  async loseWorker(worker: Worker, failure: Failure, tail?: Uint8Array): Promise<void> {
    const side = this.#sideOf(worker.id, worker.classKey);
    // It may be given nothing; should it be alive after all, it connects again and, once this is stored, is told what it lost.
    (side.link ?? side.opening)?.close("unavailable");
    this.#detach(side, ++this.#epochs);
    const losing = readCurrent(this.#ground, worker).then(async (jobs) =>
      loseJobs(this.#ground, this.#finishes, { side, jobs, failure, tail }),
    );
    side.writes = Promise.allSettled([side.writes, losing]);
    await losing;
  }

  forgetWorker(id: WorkerId): void {
    this.#hearing.forget(id);
    const side = this.#sides.get(id);
    if (side === undefined) return;
    (side.link ?? side.opening)?.close("over");
    this.#sides.delete(id);
    this.#detach(side, ++this.#epochs);
  }

  async appendLog(workerId: WorkerId, batch: AttemptBatch): Promise<"ok" | "fenced"> {
    const side = this.#sides.get(workerId);
    const known = side?.attempts.get(batch.attemptId);
    if (known !== undefined && known.jobId === batch.jobId) {
      return appendHeld(this.#ground, known, ofTenant(batch, side?.tenant));
    }
    // A Logs stream may come before the Control stream, whose Hello fills the side.
    const job = await this.#ground.store.findJob(batch.jobId);
    if (job !== undefined && currentAttempt(job, workerId)?.attemptId === batch.attemptId) {
      const found = findHeld(this.#sideOf(workerId, job.classKey), job, batch.attemptId);
      if (found !== undefined) return appendHeld(this.#ground, found, ofTenant(batch, job.tenant));
    }
    this.#ground.count("fenced");
    return "fenced";
  }

  listSilent(): readonly { readonly workerId: WorkerId; readonly silentMs: number }[] {
    return this.#hearing.listSilent();
  }

  lead(isLeading: boolean): void {
    this.#hearing.lead(isLeading);
  }

  follow(change: StoreChange): void {
    if (change.kind === "class") this.#dispatch.wake(change.id);
    else this.#hearing.follow(change);
    if (change.kind === "missed") this.#loop.wake();
  }

  stats(): AttemptStats {
    const attempts = [...this.#sides.values()].reduce((sum, side) => sum + side.attempts.size, 0);
    return { workers: this.#sides.size, attempts, heard: this.#hearing.size };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    await this.#loop[Symbol.asyncDispose]();
    this.#starts.stop();
    this.#finishes.stop();
    this.#hearing.stop();
    for (const side of this.#sides.values()) {
      side.takesWork = false;
      (side.link ?? side.opening)?.close("unavailable");
      this.#detach(side, ++this.#epochs);
    }
    this.#sides.clear();
  }

  #sideOf(id: WorkerId, classKey: string): Side {
    const known = this.#sides.get(id);
    if (known !== undefined) return known;
    const side = new Side(id, classKey);
    this.#sides.set(id, side);
    return side;
  }

  #close(side: Side, epoch: number): void {
    if (side.epoch !== epoch) return;
    this.#detach(side, ++this.#epochs);
    // Attempts, and what a claim under way may still bring, are kept for the next connection.
    const isEmpty = side.attempts.size === 0 && side.claiming === 0;
    if (isEmpty && this.#sides.get(side.id) === side) this.#sides.delete(side.id);
  }

  #detach(side: Side, epoch: number): void {
    side.epoch = epoch;
    if (side.link !== undefined) this.#dispatch.dismiss(side);
    side.link = undefined;
    side.opening = undefined;
    side.signals = [];
    for (const held of side.attempts.values()) held.onLog?.();
  }

  /** Its newest connection is another server's. */
  #replace(side: Side): void {
    this.#ground.count("replaced");
    side.link?.close("replaced");
    this.#close(side, side.epoch);
  }

  #leave(side: Side, reason: string): void {
    const { store, log, now } = this.#ground;
    side.takesWork = false;
    log.info({ workerId: side.id, reason }, "worker leaves");
    store
      .stopWorker(side.id, { reason: `the agent left: ${reason.slice(0, 1_000)}` }, now())
      .then(() => this.#onLeave(side.id))
      .catch((error: unknown) => log.warn({ workerId: side.id, err: error }, "leave not stored"));
  }

  async #round(): Promise<void> {
    await this.#hearing.round();
    for (const side of this.#sides.values()) {
      for (const attemptId of await checkHeld(this.#ground, side)) {
        this.fenceAttempt(side.id, attemptId);
      }
    }
    this.#dispatch.wakeAll();
  }
}
