import { randomBytes } from "node:crypto";
import { attemptIdOf, type AttemptId } from "#job/id.ts";
import type { Assignment } from "#store/store.ts";
import { type Ground, Held, type Side } from "./attempts-side.ts";

// A claim is given to the store in the same turn as what made it worth while (a submit, a result), so that both share a commit. Workers
// with free slots that found nothing wait in a list per class and tenant; waking looks at the first few of each, and at more while these come back full. So
// neither busy workers nor queued jobs cost anything, and workers that are kept for others stand in nobody's way.

/** How many idle workers of a class are asked first: those that are free, and those of each tenant. */
const firstWave = { free: 8, bound: 1 } as const;

interface IdleClass {
  /** By the tenant that they are bound to. One that has come to be empty is gone; the next is another. */
  readonly idle: Map<string | undefined, Set<Side>>;
  members: number;
  /** Counts wakes: a claim that was under way when one came may have missed its job. */
  wakes: number;
}

/** Gives queued jobs to workers with free slots. */
export class Dispatch {
  readonly #ground: Ground;
  readonly #classes = new Map<string, IdleClass>();
  /** Ids that were offered to the store and not taken. */
  readonly #ids: AttemptId[] = [];

  constructor(ground: Ground) {
    this.#ground = ground;
  }

  /** The worker may be given attempts from now on. */
  enlist(side: Side): void {
    const found = this.#classes.get(side.classKey);
    if (found === undefined) {
      this.#classes.set(side.classKey, { idle: new Map(), members: 1, wakes: 0 });
    } else found.members++;
  }

  /** Undoes `enlist`. */
  dismiss(side: Side): void {
    const found = this.#classes.get(side.classKey);
    if (found === undefined) return;
    rouse(found, side);
    if (--found.members === 0) this.#classes.delete(side.classKey);
  }

  wake(classKey: string): void {
    const found = this.#classes.get(classKey);
    if (found === undefined) return;
    found.wakes++;
    for (const tenant of found.idle.keys()) {
      this.#wave(found, tenant, tenant === undefined ? firstWave.free : firstWave.bound);
    }
  }

  wakeAll(): void {
    for (const classKey of this.#classes.keys()) this.wake(classKey);
  }

  /** Fills the worker's free slots. Resolves to whether there was a job for each of them. */
  async claim(side: Side): Promise<boolean> {
    const count = side.free;
    const found = this.#classes.get(side.classKey);
    if (count <= 0 || found === undefined) return false;
    rouse(found, side);
    side.claiming += count;
    const { wakes } = found;
    const others = found.idle.get(side.tenant);
    const claim = this.#ask(side, count);
    side.writes = Promise.allSettled([side.writes, claim]);
    const assigned = await claim;
    if (side.free > 0) {
      // While others rest, every wake has found enough of them.
      const wasNeeded = others === undefined || found.idle.get(side.tenant) !== others;
      const hasMissed = assigned !== undefined && found.wakes !== wakes && wasNeeded;
      if (assigned === count || hasMissed) {
        void this.claim(side);
      } else if (this.#classes.get(side.classKey) === found) rest(found, side);
    }
    return assigned === count;
  }

  #wave(found: IdleClass, tenant: string | undefined, size: number): void {
    const claims: Promise<boolean>[] = [];
    for (const side of found.idle.get(tenant) ?? []) {
      if (claims.length === size) break;
      if (side.free > 0) claims.push(this.claim(side));
      else rouse(found, side);
    }
    if (claims.length < size) return;
    void Promise.all(claims).then((full) => {
      if (full.every(Boolean)) this.#wave(found, tenant, size * 2);
    });
  }

  /** How many were assigned; undefined when the store did not say. */
  async #ask(side: Side, count: number): Promise<number | undefined> {
    const { store, limits, log } = this.#ground;
    const now = this.#ground.now();
    const attemptIds = this.#takeIds(count);
    const { bindsTenant } = limits;
    const { connection } = side;
    const claim = { count, attemptIds, deadline: now + limits.startMs, bindsTenant, connection };
    try {
      const assignments = await store.claimNext(side.id, claim, now);
      side.claiming -= count;
      this.#ids.push(...attemptIds.slice(assignments.length));
      this.#assign(side, assignments);
      return assignments.length;
    } catch (error) {
      side.claiming -= count;
      this.#ground.count("claim_failed");
      log.warn({ workerId: side.id, err: error }, "claim failed");
      return undefined;
    }
  }

  #assign(side: Side, assignments: readonly Assignment[]): void {
    if (assignments.length === 0) return;
    const { now, limits, watch, count, log } = this.#ground;
    const checkAt = now() + limits.startMs + limits.graceMs;
    side.jobsLeft -= assignments.length;
    if (limits.bindsTenant) this.#bind(side, assignments[0]?.tenant);
    for (const assignment of assignments) {
      const held = new Held(assignment, checkAt);
      held.logBatch = 0;
      side.attempts.set(assignment.attemptId, held);
      // Without a link it is sent when the agent connects again.
      if (side.link === undefined) held.isUnsent = true;
      else side.link.assign(assignment);
      count("assigned");
      log.info({ ...held.facts, workerId: side.id }, "job assigned");
    }
    watch.touch(assignments.map(({ jobId }) => jobId));
  }

  #bind(side: Side, tenant: string | undefined): void {
    const found = this.#classes.get(side.classKey);
    const isIdle = found?.idle.get(side.tenant)?.has(side) === true;
    if (isIdle) rouse(found, side);
    side.tenant = tenant;
    if (isIdle) rest(found, side);
  }

  #takeIds(count: number): AttemptId[] {
    const ids = this.#ids.splice(Math.max(0, this.#ids.length - count));
    if (ids.length === count) return ids;
    const missing = count - ids.length;
    const random = randomBytes(missing * idBytes);
    for (let at = 0; at < missing; at++) {
      ids.push(attemptIdOf(random.subarray(at * idBytes, (at + 1) * idBytes)));
    }
    return ids;
  }
}

const idBytes = 17;

function rest({ idle }: IdleClass, side: Side): void {
  const own = idle.get(side.tenant) ?? new Set();
  idle.set(side.tenant, own.add(side));
}

function rouse({ idle }: IdleClass, side: Side): void {
  const own = idle.get(side.tenant);
  own?.delete(side);
  if (own?.size === 0) idle.delete(side.tenant);
}
