import type { Failure } from "#job/failure.ts";
import type { AttemptId } from "#job/id.ts";
import { loseJobs } from "./attempts-connect.ts";
import type { Finishes } from "./attempts-finish.ts";
import { currentAttempt, type Ground, type Held, type Side } from "./attempts-side.ts";

// An attempt that a connected worker was given and did not start in time is not simply placed again: its agent may start it in the same moment. It is told to drop
// it, and only on its word that nothing of it runs the job goes on (DESIGN G9). One that is alone on its worker ends with the worker, which the sweeper sees to; one
// whose agent does not answer is the sweeper's too, after the job's tolerance.

/** Tells the agent to drop it, again and again until it says that it did. Not the only one of its worker. */
export function recall(ground: Ground, side: Side, held: Held): void {
  if (held.phase !== "assigned" || side.link === undefined || side.attempts.size <= 1) return;
  if (!held.isRecalled) {
    const { jobId, attemptId, correlationId } = held;
    const facts = { workerId: side.id, jobId, attemptId, correlationId };
    ground.log.warn(facts, "not started in time; the agent is asked to drop it");
  }
  held.isRecalled = true;
  side.link.fence(held.attemptId);
}

/** The agent has said that nothing of it runs any more. Resolves once the job goes on, if that was what it was asked for. */
export async function confirmRecall(
  ground: Ground,
  finishes: Finishes,
  given: { readonly side: Side; readonly attemptId: AttemptId; readonly mayHaveRun: boolean },
): Promise<void> {
  const { side, attemptId, mayHaveRun } = given;
  const held = side.attempts.get(attemptId);
  // One that has reported its end meanwhile has its result.
  if (held?.isRecalled !== true || held.phase === "waiting" || held.phase === "storing") return;
  const job = await ground.store.findJob(held.jobId);
  if (job === undefined || currentAttempt(job, side.id)?.attemptId !== attemptId) return;
  held.isUnsent = !mayHaveRun;
  await loseJobs(ground, finishes, { side, jobs: [job], failure: notStarted(side, mayHaveRun) });
}

function notStarted(side: Side, mayHaveRun: boolean): Failure {
  return {
    stage: "preparing",
    cause: "start_timeout",
    blame: "node",
    message: "the agent did not start the job in time, and dropped it when it was asked to",
    userCodeMayHaveRun: mayHaveRun,
    evidence: { worker: side.id },
  };
}
