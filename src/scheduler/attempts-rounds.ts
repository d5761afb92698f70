import type { AttemptId, WorkerId } from "#job/id.ts";
import { currentAttempt, type Ground, type Side } from "./attempts-side.ts";

/** Writes what happens to a worker into the histories of its jobs. */
export async function noteWorker(ground: Ground, id: WorkerId, message: string): Promise<void> {
  const worker = await ground.store.findWorker(id);
  if (worker === undefined || worker.jobs.length === 0) return;
  const stages = worker.jobs.map((jobId) => {
    return { jobId, stage: "running" as const, workerId: id, message };
  });
  await ground.store.recordStages(stages, ground.now());
  ground.watch.touch(worker.jobs);
}

/** Attempts past their deadline that another hand has ended meanwhile. */
export async function checkHeld(ground: Ground, side: Side): Promise<readonly AttemptId[]> {
  const now = ground.now();
  const fenced: AttemptId[] = [];
  for (const held of side.attempts.values()) {
    if (held.checkAt > now || held.phase === "storing") continue;
    held.checkAt = now + ground.limits.startMs;
    const job = await ground.store.findJob(held.jobId);
    if (currentAttempt(job, side.id)?.attemptId !== held.attemptId) fenced.push(held.attemptId);
  }
  return fenced;
}
