import type { WorkerId } from "#job/id.ts";
import type { Demand } from "#store/store.ts";
import type { Worker } from "#worker/worker.ts";
import {
  byUrgency,
  createPools,
  idleWorkers,
  keyOf,
  type Pools,
  rivalsOf,
  takeSlot,
  usedByTenant,
} from "./place-supply.ts";
import {
  type ClassVerdict,
  type ClassView,
  judgeView,
  type ProviderView,
  viewClass,
} from "./place-verdicts.ts";
import type { ProviderVerdict } from "./scheduler.ts";
import type { Strategies } from "./strategies.ts";

export interface WarmWish {
  readonly classKey: string;
  /** Undefined: the first in the strategy's ranking. */
  readonly provider: string | undefined;
  /** Whose jobs they are for; undefined: anybody's. */
  readonly tenant: string | undefined;
  readonly count: number;
}

/** All that a decision needs. Its size is that of the kinds of jobs and of the live workers, never of the queue. */
export interface Snapshot {
  readonly now: number;
  readonly demand: readonly Demand[];
  /** Every worker that is not over. */
  readonly workers: readonly Worker[];
  /** Those that are not heard: they take room, and nothing is expected of them. */
  readonly silent: ReadonlySet<WorkerId>;
  readonly providers: readonly ProviderView[];
  readonly warm: readonly WarmWish[];
  readonly strategies: Strategies;
  /** Decisions made before this round. */
  readonly turn: number;
  readonly limits: PlaceLimits;
}

export interface PlaceLimits {
  /** Most workers that one round may plan. */
  readonly maxPlans: number;
  readonly slots: number;
  readonly maxJobs: number;
  /** Whether a worker planned for demand belongs to the tenant from the start, also where the provider does not ask for it. */
  readonly bindsTenant: boolean;
  weightOf(tenant: string): number;
}

export interface Placement {
  readonly provider: string;
  readonly classKey: string;
  readonly tenant: string | undefined;
  readonly count: number;
  readonly isWarm: boolean;
  readonly verdicts: readonly ProviderVerdict[];
}

/** Demand that no provider can take now. */
export interface Unplaced {
  readonly tenant: string;
  readonly classKey: string;
  readonly count: number;
  readonly verdicts: readonly ProviderVerdict[];
  /** Providers that would take it, had they room. */
  readonly full: readonly string[];
  /** Whether waiting may help. */
  readonly canPass: boolean;
}

export interface Plan {
  readonly placements: readonly Placement[];
  readonly unplaced: readonly Unplaced[];
  /** Workers without a job that neither demand nor a warm wish needs. */
  readonly surplus: readonly WorkerId[];
  /** Workers without a job that hold the room which unplaced demand needs. */
  readonly evictions: readonly WorkerId[];
}

interface Entry {
  readonly demand: Demand;
  left: number;
}

interface Board {
  readonly snapshot: Snapshot;
  readonly pools: Pools;
  readonly counts: Map<string, number>;
  /** As `VerdictContext.probesOf`. */
  readonly probes: Map<string, number>;
  readonly placements: Map<string, { -readonly [Key in keyof Placement]: Placement[Key] }>;
  readonly unplaced: Unplaced[];
  /** Classes that nobody can take; room only shrinks within a round. */
  readonly hopeless: Map<string, ClassVerdict>;
  /** Classes that were judged after the last plan, when nothing changes any more. */
  readonly late: Map<string, ClassVerdict>;
  readonly views: Map<string, ClassView>;
  plans: number;
}

/**
 * Decides which workers to start. Tenants take turns by weight, counting what they use already; within a tenant the higher priority goes first,
 * then the older. A class that cannot be placed drops out at once and holds nobody up. Pure, and independent of the order of its input.
 */
export function place(snapshot: Snapshot): Plan {
  const counts = new Map<string, number>();
  for (const worker of snapshot.workers) {
    counts.set(worker.provider, (counts.get(worker.provider) ?? 0) + 1);
  }
  const rivals = rivalsOf(snapshot.workers);
  const supply = snapshot.workers.filter(({ id }) => !snapshot.silent.has(id) && !rivals.has(id));
  const board: Board = {
    snapshot,
    pools: createPools(supply),
    counts,
    probes: probesOf(snapshot),
    placements: new Map(),
    unplaced: [],
    hopeless: new Map(),
    late: new Map(),
    views: new Map(),
    plans: 0,
  };
  serveDemand(board);
  const kept = serveWarm(board);
  const evictions = evict(board);
  const evicted = new Set(evictions);
  const surplus = idleWorkers(board.pools, kept).filter((id) => !evicted.has(id));
  return {
    placements: [...board.placements.values()],
    unplaced: board.unplaced,
    surplus,
    evictions,
  };
}

/** Workers of each provider that show whether it works again, and have not done so yet. */
export function probesOf({
  providers,
  workers,
}: Pick<Snapshot, "providers" | "workers">): Map<string, number> {
  const since = new Map(providers.map(({ name, circuit }) => [name, circuit.since]));
  const probes = new Map<string, number>();
  for (const { provider, readyAt, attempts, plannedAt, state } of workers) {
    // One that has called back is as good as a probe that went well; one that is being ended has failed or was not needed.
    const isOpen = readyAt === undefined && attempts === 0 && state !== "stopping";
    if (!isOpen || plannedAt < (since.get(provider) ?? Infinity)) continue;
    probes.set(provider, (probes.get(provider) ?? 0) + 1);
  }
  return probes;
}

function serveDemand(board: Board): void {
  const { snapshot } = board;
  const queues = new Map<string, Entry[]>();
  for (const demand of snapshot.demand.toSorted(byUrgency)) {
    if (demand.queued <= 0) continue;
    const queue = queues.get(demand.tenant) ?? [];
    queue.push({ demand, left: demand.queued });
    queues.set(demand.tenant, queue);
  }
  const used = usedByTenant(snapshot.workers);
  const share = (tenant: string): number =>
    (used.get(tenant) ?? 0) / Math.max(snapshot.limits.weightOf(tenant), Number.MIN_VALUE);

  while (queues.size > 0) {
    const tenant = leastServed(queues, share);
    const queue = queues.get(tenant) ?? [];
    const entry = queue[0];
    if (entry === undefined) {
      queues.delete(tenant);
    } else if (takeSlot(board.pools, entry.demand) || planFor(board, entry.demand)) {
      used.set(tenant, (used.get(tenant) ?? 0) + 1);
      entry.left -= 1;
      if (entry.left === 0) queue.shift();
    } else {
      giveUp(board, entry);
      queue.shift();
    }
  }
}

function leastServed(
  queues: ReadonlyMap<string, readonly Entry[]>,
  share: (tenant: string) => number,
): string {
  let best = "";
  let least = Infinity;
  for (const tenant of queues.keys()) {
    const portion = share(tenant);
    if (best !== "" && (portion > least || (portion === least && tenant > best))) continue;
    best = tenant;
    least = portion;
  }
  return best;
}

/** Plans a worker and takes its first slot; false when there is no room for one. */
function planFor(board: Board, demand: Demand): boolean {
  const { limits } = board.snapshot;
  const verdict = judge(board, demand.classKey, demand.tenant);
  const provider = verdict.ranked[0];
  if (provider === undefined || board.plans >= limits.maxPlans) return false;
  const view = board.snapshot.providers.find(({ name }) => name === provider);
  const tenant = limits.bindsTenant || view?.bindsTenant === true ? demand.tenant : undefined;
  const { classKey } = demand;
  addPlan(board, { provider, classKey, tenant, isWarm: false, verdict });
  board.pools.add(classKey, tenant, Math.min(limits.slots, limits.maxJobs) - 1);
  return true;
}

function judge(board: Board, classKey: string, tenant: string | undefined): ClassVerdict {
  const { snapshot, hopeless, late, views } = board;
  const { providers, strategies, now, turn, limits } = snapshot;
  const isLate = board.plans >= limits.maxPlans;
  const known = hopeless.get(classKey) ?? (isLate ? late.get(classKey) : undefined);
  if (known !== undefined) return known;
  const view = views.get(classKey) ?? viewClass(classKey, { providers, now });
  views.set(classKey, view);
  const verdict = judgeView(view, {
    providers,
    strategies,
    tenant,
    now,
    turn: turn + board.plans,
    workersOf: (name) => board.counts.get(name) ?? 0,
    probesOf: (name) => board.probes.get(name) ?? 0,
  });
  if (verdict.ranked.length === 0) hopeless.set(classKey, verdict);
  else if (isLate) late.set(classKey, verdict);
  return verdict;
}

function addPlan(
  board: Board,
  plan: Omit<Placement, "count" | "verdicts"> & { readonly verdict: ClassVerdict },
): void {
  const { verdict, ...rest } = plan;
  const { provider } = rest;
  const key = JSON.stringify([provider, rest.classKey, rest.tenant ?? null, rest.isWarm]);
  const known = board.placements.get(key);
  if (known !== undefined) known.count += 1;
  else board.placements.set(key, { ...rest, verdicts: verdict.verdicts, count: 1 });
  board.counts.set(provider, (board.counts.get(provider) ?? 0) + 1);
  board.probes.set(provider, (board.probes.get(provider) ?? 0) + 1);
  board.plans += 1;
}

function giveUp(board: Board, entry: Entry): void {
  const verdict = board.hopeless.get(entry.demand.classKey);
  // Without a verdict the round's budget is used up; the next round goes on.
  if (verdict === undefined) return;
  const { tenant, classKey } = entry.demand;
  const { verdicts, full, canPass } = verdict;
  board.unplaced.push({ tenant, classKey, count: entry.left, verdicts, full, canPass });
}

/** Refills the warm pool with the room that demand has left; how many idle workers each class and tenant keeps. */
function serveWarm(board: Board): ReadonlyMap<string, number> {
  const { limits } = board.snapshot;
  const kept = new Map<string, number>();
  for (const wish of board.snapshot.warm) {
    const { classKey, tenant } = wish;
    const key = keyOf(classKey, tenant);
    kept.set(key, (kept.get(key) ?? 0) + wish.count);
    let missing = wish.count - board.pools.spare(wish);
    while (missing > 0 && board.plans < limits.maxPlans) {
      const verdict = judge(board, classKey, tenant);
      const provider =
        wish.provider === undefined
          ? verdict.ranked[0]
          : verdict.ranked.find((name) => name === wish.provider);
      if (provider === undefined) break;
      addPlan(board, { provider, classKey, tenant, isWarm: true, verdict });
      missing -= 1;
    }
  }
  return kept;
}

/** Idle workers give way, warm ones too, where demand of another class finds a provider full. */
function evict(board: Board): readonly WorkerId[] {
  const evictions: WorkerId[] = [];
  const coming = new Map<string, number>();
  for (const { state, provider } of board.snapshot.workers) {
    if (state !== "draining" && state !== "stopping") continue;
    coming.set(provider, (coming.get(provider) ?? 0) + 1);
  }
  for (const { count, full } of board.unplaced) {
    let needed = count;
    for (const provider of full) {
      const waiting = Math.min(needed, coming.get(provider) ?? 0);
      coming.set(provider, (coming.get(provider) ?? 0) - waiting);
      needed -= waiting;
      while (needed > 0) {
        const id = board.pools.takeIdle(provider);
        if (id === undefined) break;
        evictions.push(id);
        needed -= 1;
      }
    }
  }
  return evictions;
}
