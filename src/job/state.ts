import { HodeiError } from "#error.ts";

export const jobStates = [
  "queued",
  "starting",
  "running",
  "cancelling",
  "succeeded",
  "failed",
  "cancelled",
  "timed_out",
] as const;
export type JobState = (typeof jobStates)[number];

export type JobMove =
  "start" | "run" | "requeue" | "succeed" | "fail" | "cancel" | "end_cancelled" | "time_out";

/** Every legal move of a job. Whatever is not in this table is refused. */
export const moves: Readonly<
  Record<JobMove, { readonly from: readonly JobState[]; readonly to: JobState }>
> = {
  start: { from: ["queued"], to: "starting" },
  run: { from: ["starting"], to: "running" },
  requeue: { from: ["starting", "running"], to: "queued" },
  succeed: { from: ["running", "cancelling"], to: "succeeded" },
  fail: { from: ["queued", "starting", "running", "cancelling"], to: "failed" },
  cancel: { from: ["starting", "running"], to: "cancelling" },
  end_cancelled: { from: ["queued", "cancelling"], to: "cancelled" },
  time_out: { from: ["queued", "starting", "running"], to: "timed_out" },
};

export function canMove(from: JobState, move: JobMove): boolean {
  return moves[move].from.includes(from);
}

/** The state after `move`. Error: `failed_precondition` when the table has no such move. */
export function moveJob(from: JobState, move: JobMove): JobState {
  if (!canMove(from, move)) {
    throw new HodeiError("failed_precondition", `a ${from} job cannot ${move.replace("_", " ")}`);
  }
  return moves[move].to;
}

/** Whether nothing comes after this state (DESIGN G5). */
export function isFinal(state: JobState): boolean {
  return (
    state === "succeeded" || state === "failed" || state === "cancelled" || state === "timed_out"
  );
}

export type AttemptState = "planned" | "starting" | "running" | "ended";
