import { numberOf } from "#job/id.ts";
import type { Job } from "#job/job.ts";
import type { State } from "./state.ts";

/**
 * Fair turns: by class and tenant, the virtual time of the tenant's next turn. The tenant with the smallest one is next, and pays with
 * 1/weight. One that comes back from having nothing to claim starts with the others at the earliest, so it has saved up nothing.
 */
export type Shares = Map<string, Map<string, { start: number; isActive: boolean }>>;

/** Whether the job may be claimed. */
export function isReady(state: State, job: Job): boolean {
  return job.state === "queued" && job.notBefore <= state.promotedAt;
}

export function listReady(state: State, classKey: string): Job[] {
  const jobs = [...state.jobs.values()].map((entry) => entry.job);
  return jobs.filter((job) => job.classKey === classKey && isReady(state, job)).sort(byTurn);
}

/** Within a tenant: the higher priority, then the older. */
export function byTurn(one: Job, other: Job): number {
  return other.priority - one.priority || numberOf(one.id) - numberOf(other.id);
}

/** Time has passed: what has backed off until `now` may be claimed. */
export function promote(state: State, now: number): void {
  const due = [...state.jobs.values()].filter(
    ({ job }) => job.state === "queued" && job.notBefore > state.promotedAt && job.notBefore <= now,
  );
  state.promotedAt = Math.max(state.promotedAt, now);
  for (const classKey of new Set(due.map(({ job }) => job.classKey))) {
    refreshShares(state, classKey);
  }
}

/** To be called after every change of what may be claimed. */
export function refreshShares(state: State, classKey: string): void {
  const ready = new Set(listReady(state, classKey).map((job) => job.tenant));
  if (ready.size === 0) {
    state.shares.delete(classKey);
    return;
  }
  const shares = state.shares.get(classKey) ?? new Map<string, Turn>();
  state.shares.set(classKey, shares);
  for (const [tenant, share] of shares) share.isActive &&= ready.has(tenant);
  for (const tenant of ready) {
    const share = shares.get(tenant);
    if (share?.isActive === true) continue;
    const others = [...shares.values()].filter((other) => other.isActive);
    const earliest = others.length === 0 ? 0 : Math.min(...others.map((other) => other.start));
    shares.set(tenant, { start: Math.max(share?.start ?? 0, earliest), isActive: true });
  }
}

/** The tenant whose turn it is among `tenants`. */
export function nextTenant(state: State, jobs: readonly Job[]): string | undefined {
  const [first] = jobs;
  const shares = first === undefined ? undefined : state.shares.get(first.classKey);
  const startOf = (tenant: string) => shares?.get(tenant)?.start ?? 0;
  return [...new Set(jobs.map((job) => job.tenant))].sort(
    (one, other) => startOf(one) - startOf(other) || (one < other ? -1 : 1),
  )[0];
}

/** To be called before the job leaves the queue. */
export function payTurn(state: State, job: Job): void {
  const share = state.shares.get(job.classKey)?.get(job.tenant);
  if (share !== undefined) share.start += 1 / state.weightOf(job.tenant);
}

type Turn = { start: number; isActive: boolean };
