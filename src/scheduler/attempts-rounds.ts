import type { AttemptId, WorkerId } from "#job/id.ts";
import { recall } from "./attempts-recall.ts";
import type { DrainNotice } from "./scheduler.ts";
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

/** Its agent was asked to end: nothing more is claimed for it. */
export function drainSide(ground: Ground, side: Side, { reason, graceMs }: DrainNotice): void {
  side.takesWork = false;
  side.isDrained = true;
  ground.log.warn({ workerId: side.id, reason, graceMs }, "worker is being ended");
  const seconds = Math.round(graceMs / 1_000);
  const message = `the worker is being ended (${reason}); the job gets ${seconds} s to end by itself`;
  Promise.all([
    ground.store.drainWorker(side.id, reason, ground.now()),
    noteWorker(ground, side.id, message),
  ]).catch((error: unknown) => {
    ground.log.warn({ workerId: side.id, err: error }, "drain was not stored");
  });
}

/** Attempts past their deadline that another hand has ended meanwhile. Those that were not started in time are taken back. */
export async function checkHeld(ground: Ground, side: Side): Promise<readonly AttemptId[]> {
  const now = ground.now();
  const fenced: AttemptId[] = [];
  for (const held of side.attempts.values()) {
    if (held.checkAt > now || held.phase === "storing") continue;
    held.checkAt = now + ground.limits.startMs;
    const job = await ground.store.findJob(held.jobId);
    if (currentAttempt(job, side.id)?.attemptId !== held.attemptId) fenced.push(held.attemptId);
    else if (job?.state === "starting") recall(ground, side, held);
  }
  return fenced;
}
