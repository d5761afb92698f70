import type { Failure, Stage } from "./failure.ts";
import type { JobEvent } from "./job.ts";
import { canMove, isFinal, type JobMove, type JobState } from "./state.ts";

/** Events that a history keeps, unless told otherwise. */
export const defaultMaxEvents = 200;

/** How far a job in `state` is, as its history says; a job that is being cancelled stays where it was. */
export function stageOf(state: JobState, before: JobState): Stage {
  if (isFinal(state)) return "ended";
  const at = state === "cancelling" ? before : state;
  return at === "starting" ? "preparing" : at === "queued" ? "queued" : "running";
}

/**
 * The moves by which a job in `state` comes to `move`: a process that was never reported as started is started on the way, a running job that ended as
 * cancelled is cancelled first, and a cancelled one is neither tried again nor timed out. Empty when there is no way.
 */
export function movesTo(
  move: JobMove,
  job: { readonly state: JobState; readonly hasStarted: boolean },
): readonly JobMove[] {
  switch (job.state) {
    case "cancelling":
      return [move === "requeue" || move === "time_out" ? "end_cancelled" : move];
    case "starting":
    case "running": {
      const isUnreported = job.state === "starting" && (job.hasStarted || move === "succeed");
      const last: JobMove[] = move === "end_cancelled" ? ["cancel", move] : [move];
      return isUnreported ? ["run", ...last] : last;
    }
    default:
      return canMove(job.state, move) ? [move] : [];
  }
}

/** The failure of a job that was cancelled before anything else could be said of it. */
export function cancelledFailure(stage: Stage, message: string): Failure {
  return {
    stage,
    cause: "cancelled",
    blame: "user",
    message,
    userCodeMayHaveRun: stage === "running",
    evidence: {},
  };
}

/**
 * Cuts a history that has grown beyond `maxEvents` to three quarters of it: the first quarter stays, and the newest half. The event after the hole says
 * how many are missing.
 */
export function boundEvents(events: readonly JobEvent[], maxEvents: number): readonly JobEvent[] {
  if (events.length <= maxEvents) return events;
  const head = events.slice(0, Math.max(1, Math.floor(maxEvents / 4)));
  const [first, ...rest] = events.slice(-Math.max(1, Math.floor(maxEvents / 2)));
  const before = head.at(-1);
  if (first === undefined || before === undefined || first.sequence <= before.sequence) {
    return events;
  }
  return [...head, { ...first, dropped: first.sequence - before.sequence - 1 }, ...rest];
}
