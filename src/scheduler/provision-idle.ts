import type { WorkerId } from "#job/id.ts";
import type { Worker } from "#worker/worker.ts";
import type { Plan } from "./place.ts";
import type { WorkerEnds } from "./reap-end.ts";
import type { Parts } from "./start-parts.ts";

/** Ends workers that nobody has needed for the idle timeout, and those whose room is needed now. */
export interface Idle {
  /** Whether a worker was marked for removal. */
  letGo(plan: Plan, workers: readonly Worker[]): Promise<boolean>;
}

export function createIdle(parts: Parts, ends: WorkerEnds): Idle {
  const since = new Map<WorkerId, number>();
  return {
    async letGo(plan, workers) {
      const surplus = new Set(plan.surplus);
      for (const id of since.keys()) if (!surplus.has(id)) since.delete(id);
      const at = parts.monotonic();
      const leaving = new Map(
        plan.evictions.map((id) => [id, "its room is needed for another class"]),
      );
      for (const id of surplus) {
        const first = since.get(id) ?? at;
        since.set(id, first);
        if (at - first >= parts.reuse.idleTimeoutMs) leaving.set(id, "nobody needs it");
      }
      for (const worker of workers) {
        const reason = leaving.get(worker.id);
        if (reason !== undefined) await release(parts, ends, { worker, reason });
      }
      return leaving.size > 0;
    },
  };
}

async function release(
  parts: Parts,
  ends: WorkerEnds,
  { worker, reason }: { readonly worker: Worker; readonly reason: string },
): Promise<void> {
  if (worker.state !== "ready") return ends.stop(worker.id, reason);
  // A job that was claimed meanwhile is finished first.
  await parts.store.drainWorker(worker.id, reason, parts.now());
  parts.attempts.signalDrain(worker.id, reason);
}
