import type { JobId, WorkerId } from "#job/id.ts";
import { isExpected, type Worker } from "#worker/worker.ts";
import { type Plan, type Placement, probesOf, type Snapshot } from "./place.ts";
import { judgeClass } from "./place-verdicts.ts";
import type { Parts } from "./start-parts.ts";

/**
 * A second worker on another provider for a job that must start soon and whose worker keeps it waiting. Whichever calls back first is given the job; the
 * other is let go like any worker that nobody needs.
 */
export interface Hedges {
  plan(
    snapshot: Snapshot,
    plan: Plan,
  ): Promise<readonly (Omit<Placement, "count"> & { readonly forJob: JobId })[]>;
}

/** Slow workers that one round looks at. */
const looksPerRound = 50;

export function createHedges(parts: Parts): Hedges {
  /** Workers that have their rival, or need none. */
  const settled = new Set<WorkerId>();
  return {
    async plan(snapshot, plan) {
      const { hedgeAfterMs, hedgePriority } = parts.limits;
      if (hedgeAfterMs === undefined) return [];
      const board = createBoard(snapshot, plan);
      const live = new Set(snapshot.workers.map(({ id }) => id));
      for (const id of settled) if (!live.has(id)) settled.delete(id);
      const late = slowOf(snapshot, hedgeAfterMs).filter(({ id }) => !settled.has(id));
      const hedges = [];
      for (const worker of late.slice(0, looksPerRound)) {
        if (board.room <= 0) break;
        const { forJob, classKey, tenant } = worker;
        const job = await parts.store.findJob(forJob);
        if (job?.state !== "queued" || job.priority < hedgePriority) {
          settled.add(worker.id);
          continue;
        }
        const { ranked, verdicts } = board.judge(worker, job.tenant);
        const provider = ranked[0];
        if (provider === undefined) continue;
        settled.add(worker.id);
        board.take(provider);
        hedges.push({ provider, classKey, tenant, isWarm: false, verdicts, forJob });
      }
      return hedges;
    },
  };
}

type Slow = Worker & { readonly forJob: JobId };

/** Workers that have not called back in time and are the only one for their job. */
function slowOf(snapshot: Snapshot, hedgeAfterMs: number): readonly Slow[] {
  const expected = new Map<JobId, number>();
  for (const worker of snapshot.workers) {
    const { forJob } = worker;
    if (forJob === undefined || !isExpected(worker)) continue;
    expected.set(forJob, (expected.get(forJob) ?? 0) + 1);
  }
  return snapshot.workers.filter(
    (worker): worker is Slow =>
      worker.forJob !== undefined &&
      worker.readyAt === undefined &&
      isExpected(worker) &&
      expected.get(worker.forJob) === 1 &&
      worker.plannedAt <= snapshot.now - hedgeAfterMs,
  );
}

/** The room that the round's own plan has left. */
function createBoard(snapshot: Snapshot, plan: Plan) {
  const counts = new Map<string, number>();
  const probes = probesOf(snapshot);
  const add = (to: Map<string, number>, provider: string, count: number): void =>
    void to.set(provider, (to.get(provider) ?? 0) + count);
  for (const { provider } of snapshot.workers) add(counts, provider, 1);
  let room = snapshot.limits.maxPlans;
  for (const { provider, count } of plan.placements) {
    add(counts, provider, count);
    add(probes, provider, count);
    room -= count;
  }
  return {
    get room() {
      return room;
    },
    judge: (worker: Worker, tenant: string) =>
      judgeClass(worker.classKey, {
        providers: snapshot.providers.filter(({ name }) => name !== worker.provider),
        strategies: snapshot.strategies,
        tenant,
        turn: snapshot.turn,
        now: snapshot.now,
        workersOf: (name) => counts.get(name) ?? 0,
        probesOf: (name) => probes.get(name) ?? 0,
      }),
    take(provider: string): void {
      add(counts, provider, 1);
      add(probes, provider, 1);
      room -= 1;
    },
  };
}
