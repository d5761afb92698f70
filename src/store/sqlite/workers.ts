import { HodeiError } from "#error.ts";
import { jobIdOf, numberOf, type WorkerId } from "#job/id.ts";
import type {
  NewWorker,
  RedeemClaim,
  RedeemOutcome,
  WorkerEnd,
  WorkerHello,
  WorkerStop,
} from "#store/store.ts";
import { isSameHash } from "#worker/secret.ts";
import { isExpected, workerMoves, type Worker } from "#worker/worker.ts";
import type { Core } from "./core.ts";
import { draftOf } from "./job-table.ts";
import { moveWorker, type LiveWorker } from "./worker-table.ts";

/** Jobs of one tenant that are looked at to find one for which no worker was planned. */
const plannedLimit = 2_000;

/** The steps of a worker's life. */
export class WorkerSteps {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  planWorkers(given: readonly NewWorker[], now: number): readonly Worker[] {
    const { ready, workers } = this.#core;
    for (const { id } of given) {
      if (workers.find(numberOf(id)) !== undefined) {
        throw new HodeiError("already_exists", `worker ${id} is known already`);
      }
    }
    ready.promote(now);
    const planned = new Set<number>();
    for (const { worker } of workers.live.values()) {
      if (isExpected(worker) && worker.forJob !== undefined) planned.add(numberOf(worker.forJob));
    }
    return given.map((worker) => this.#planWorker(worker, planned, now));
  }

  #planWorker(given: NewWorker, planned: Set<number>, now: number): Worker {
    const { otpHash, otpExpiresAt, isWarm, ...rest } = given;
    const job = isWarm ? undefined : this.#jobFor(given, planned);
    if (job !== undefined) planned.add(job);
    const worker: LiveWorker["worker"] = {
      ...rest,
      pricePerHour: rest.pricePerHour ?? 0,
      state: "planned",
      forJob: job === undefined ? undefined : jobIdOf(job),
      resourceUid: undefined,
      attempts: 0,
      plannedAt: now,
      readyAt: undefined,
      endedAt: undefined,
      failure: undefined,
      reason: "",
      hostname: "",
      connection: 0,
      expiresAt: undefined,
    };
    const entry = { worker, otpHash, otpExpiresAt, sessionHash: undefined };
    this.#core.workers.insert(entry);
    return this.#core.workers.show(entry);
  }

  #jobFor(given: NewWorker, planned: ReadonlySet<number>): number | undefined {
    return given.forJob === undefined
      ? this.#firstUnplanned(given, planned)
      : numberOf(given.forJob);
  }

  #firstUnplanned(given: NewWorker, planned: ReadonlySet<number>): number | undefined {
    const { names, ready } = this.#core;
    const classNumber = names.findNumber("class", given.classKey);
    const bound = given.tenant;
    const tenant = bound === undefined ? undefined : names.findNumber("tenant", bound);
    if (classNumber === undefined || (bound !== undefined && tenant === undefined)) {
      return undefined;
    }
    const where = { class: classNumber, tenant, limit: plannedLimit };
    return ready.findFirst(where, (key) => planned.has(key));
  }

  recordCreated(id: WorkerId, resourceUid: string): void {
    const entry = this.#core.workers.live.get(numberOf(id));
    if (entry === undefined) return;
    const { worker } = entry;
    entry.worker = { ...worker, resourceUid: worker.resourceUid ?? resourceUid };
    moveWorker(entry, "create", {});
    this.#core.workers.save(entry);
  }

  redeem(id: WorkerId, claim: RedeemClaim, now: number): RedeemOutcome {
    const entry = this.#core.workers.find(numberOf(id));
    if (entry === undefined) return { kind: "refused", reason: "unknown_worker" };
    const { state } = entry.worker;
    if (state === "ended") return { kind: "refused", reason: "over" };
    if (claim.otpHash !== "attested" && !isSameHash(entry.otpHash, claim.otpHash)) {
      return { kind: "refused", reason: "wrong_token" };
    }
    if (entry.sessionHash !== undefined) {
      return isSameHash(entry.sessionHash, claim.sessionHash)
        ? { kind: "ok", isRepeat: true }
        : { kind: "refused", reason: "already_redeemed" };
    }
    if (!workerMoves.redeem.from.includes(state)) return { kind: "refused", reason: "over" };
    if (now > entry.otpExpiresAt) return { kind: "refused", reason: "expired" };
    entry.sessionHash = claim.sessionHash;
    moveWorker(entry, "redeem", { readyAt: now, startDeadline: undefined });
    this.#core.workers.save(entry);
    return { kind: "ok", isRepeat: false };
  }

  findSession(id: WorkerId): Uint8Array | undefined {
    return this.#core.workers.live.get(numberOf(id))?.sessionHash;
  }

  recordHello(id: WorkerId, { slots, hostname }: WorkerHello): number {
    const entry = this.#core.workers.live.get(numberOf(id));
    if (entry === undefined) return 0;
    const connection = entry.worker.connection + 1;
    entry.worker = { ...entry.worker, slots, hostname, connection };
    this.#core.workers.save(entry);
    return connection;
  }

  findWorker(id: WorkerId): Worker | undefined {
    const entry = this.#core.workers.find(numberOf(id));
    return entry === undefined ? undefined : this.#core.workers.show(entry);
  }

  listLiveWorkers(): readonly Worker[] {
    const { workers } = this.#core;
    return [...workers.live.values()].map((entry) => workers.show(entry));
  }

  drainWorker(id: WorkerId, reason: string): Worker {
    const entry = this.#getWorker(id);
    if (moveWorker(entry, "drain", { reason })) this.#core.workers.save(entry);
    return this.#core.workers.show(entry);
  }

  stopWorker(id: WorkerId, { reason }: WorkerStop): Worker {
    const entry = this.#getWorker(id);
    const isMoved = moveWorker(entry, "stop", { reason, startDeadline: undefined });
    if (isMoved) this.#core.workers.save(entry);
    return this.#core.workers.show(entry);
  }

  endWorker(id: WorkerId, end: WorkerEnd, now: number): Worker | undefined {
    const { workers } = this.#core;
    const entry = workers.find(numberOf(id));
    if (entry === undefined) return undefined;
    const { failure, expiresAt } = end;
    const set = { endedAt: now, failure, expiresAt, startDeadline: undefined };
    if (moveWorker(entry, "end", set)) {
      entry.sessionHash = undefined;
      workers.save(entry);
      if (entry.worker.readyAt === undefined) this.#blame(entry, now);
    }
    return workers.show(entry);
  }

  /** Tells the queued job for which the worker was started that it never came up. */
  #blame({ worker }: LiveWorker, now: number): void {
    const { jobs } = this.#core;
    const { failure, forJob } = worker;
    if (failure === undefined || forJob === undefined) return;
    const row = jobs.find(numberOf(forJob));
    if (row === undefined || row.state !== 0) return;
    const { stage, message } = failure;
    const draft = draftOf(row);
    row.infra++;
    jobs.tell(draft, { at: now, stage, attempt: 0, workerId: worker.id, message, failure });
    jobs.save(draft);
  }

  #getWorker(id: WorkerId): LiveWorker {
    const entry = this.#core.workers.find(numberOf(id));
    if (entry === undefined) throw new HodeiError("not_found", `worker ${id} is not known`);
    return entry;
  }
}
