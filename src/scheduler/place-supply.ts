import type { JobId, WorkerId } from "#job/id.ts";
import type { Demand } from "#store/store.ts";
import { isExpected, type Worker } from "#worker/worker.ts";

/** Free slots of the workers that are there or on their way, by class and tenant. */
export interface Pools {
  readonly all: ReadonlyMap<string, Pool>;
  /** More slots, of a worker that is being planned. */
  add(classKey: string, tenant: string | undefined, slots: number): void;
  /** Workers without a job that demand has left over: those of a class and tenant, on one provider or any. */
  spare(wanted: {
    readonly classKey: string;
    readonly tenant: string | undefined;
    readonly provider: string | undefined;
  }): number;
  /** Takes one ready worker without a job that demand has left over, warm ones last. */
  takeIdle(provider: string): WorkerId | undefined;
}

export interface Pool {
  readonly classKey: string;
  readonly tenant: string | undefined;
  /** Slots of workers that are there or being started. */
  free: number;
  /** Slots of workers that this round plans. */
  coming: number;
  /** Workers without a job, the ones to keep first. */
  readonly idle: Worker[];
}

/** Slots that a worker can still fill. */
function freeSlots(worker: Worker): number {
  if (worker.state === "draining" || worker.state === "stopping") return 0;
  return Math.max(0, Math.min(worker.slots - worker.jobs.length, worker.maxJobs - worker.attempts));
}

export function createPools(workers: readonly Worker[]): Pools {
  const all = new Map<string, Pool>();
  const poolOf = (classKey: string, tenant: string | undefined): Pool => {
    const key = keyOf(classKey, tenant);
    const pool = all.get(key) ?? { classKey, tenant, free: 0, coming: 0, idle: [] };
    all.set(key, pool);
    return pool;
  };
  for (const worker of workers.toSorted(byUse)) {
    const free = freeSlots(worker);
    if (free === 0) continue;
    const pool = poolOf(worker.classKey, worker.tenant);
    pool.free += free;
    if (worker.jobs.length === 0) pool.idle.push(worker);
  }
  return {
    all,
    add(classKey, tenant, slots) {
      poolOf(classKey, tenant).coming += slots;
    },
    spare({ classKey, tenant, provider }) {
      const pool = all.get(keyOf(classKey, tenant));
      if (pool === undefined) return 0;
      const spare = spareOf(pool);
      if (provider === undefined) return spare.length;
      return spare.filter((worker) => worker.provider === provider).length;
    },
    takeIdle(provider) {
      const spare = [...all.values()].flatMap((pool) =>
        spareOf(pool)
          .filter((worker) => worker.provider === provider && worker.state === "ready")
          .map((worker) => ({ pool, worker })),
      );
      const taken = spare.toSorted((one, other) => byUse(other.worker, one.worker))[0];
      if (taken === undefined) return undefined;
      taken.pool.idle.splice(taken.pool.idle.indexOf(taken.worker), 1);
      taken.pool.free -= freeSlots(taken.worker);
      return taken.worker.id;
    },
  };
}

/** Takes a slot that is free or will be; false when there is none for this demand. */
export function takeSlot(pools: Pools, demand: Demand): boolean {
  for (const tenant of [demand.tenant, undefined]) {
    const pool = pools.all.get(keyOf(demand.classKey, tenant));
    if (pool === undefined || pool.free + pool.coming === 0) continue;
    if (pool.free > 0) pool.free -= 1;
    else pool.coming -= 1;
    return true;
  }
  return false;
}

/** Workers that demand has left over, but for the warm ones that are kept, by `keyOf`. */
export function idleWorkers(pools: Pools, kept: ReadonlyMap<string, number>): readonly WorkerId[] {
  return [...pools.all.values()].flatMap((pool) => {
    return spareOf(pool)
      .slice(kept.get(keyOf(pool.classKey, pool.tenant)) ?? 0)
      .map((worker) => worker.id);
  });
}

/** Workers that wait for a job for which an older one does: of two that are started for one job only one is needed. */
export function rivalsOf(workers: readonly Worker[]): ReadonlySet<WorkerId> {
  const first = new Map<JobId, WorkerId>();
  const rivals = new Set<WorkerId>();
  for (const worker of workers.toSorted((one, other) => compare(one.id, other.id))) {
    const { id, forJob } = worker;
    if (forJob === undefined || !isExpected(worker)) continue;
    if (first.has(forJob)) rivals.add(id);
    else first.set(forJob, id);
  }
  return rivals;
}

/** Jobs that tenants have on workers of their own. */
export function usedByTenant(workers: readonly Worker[]): Map<string, number> {
  const used = new Map<string, number>();
  for (const { tenant, jobs } of workers) {
    if (tenant !== undefined) used.set(tenant, (used.get(tenant) ?? 0) + jobs.length);
  }
  return used;
}

/** Within a tenant: higher priority, then older; a total order, so that the order of the input never matters. */
export function byUrgency(one: Demand, other: Demand): number {
  if (one.priority !== other.priority) return other.priority - one.priority;
  if (one.oldestAt !== other.oldestAt) return one.oldestAt - other.oldestAt;
  return compare(one.classKey, other.classKey) || compare(one.tenant, other.tenant);
}

/** Idle workers whose slots nobody took: the last ones of the pool. */
function spareOf(pool: Pool): readonly Worker[] {
  let left = pool.free;
  const spare: Worker[] = [];
  for (const worker of pool.idle.toReversed()) {
    left -= freeSlots(worker);
    if (left < 0) break;
    spare.unshift(worker);
  }
  return spare;
}

/** Ready ones first, then those that will be ready first. */
function byUse(one: Worker, other: Worker): number {
  const isReady = (worker: Worker): number => (worker.state === "ready" ? 0 : 1);
  return isReady(one) - isReady(other) || compare(one.id, other.id);
}

/** Names a pool. */
export function keyOf(classKey: string, tenant: string | undefined): string {
  return `${classKey}\n${tenant ?? ""}`;
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
