import type { Metrics } from "#metrics.ts";
import type { AttemptFinish, Store, VersionedMove } from "#store/store.ts";

/** The same store, counting the jobs that end in it. */
export function countEnds(store: Store, metrics: Pick<Metrics, "jobEnded">): Store {
  const count = ({ move }: AttemptFinish | VersionedMove, isDone: boolean): void => {
    if (isDone && move !== "requeue") metrics.jobEnded(ends[move]);
  };
  return {
    ...store,
    async finishAttempts(finishes, now) {
      const outcomes = await store.finishAttempts(finishes, now);
      finishes.forEach((finish, at) => count(finish, outcomes[at] === "ok"));
      return outcomes;
    },
    async moveJobs(moves, now) {
      const outcomes = await store.moveJobs(moves, now);
      moves.forEach((move, at) => count(move, outcomes[at] === true));
      return outcomes;
    },
    async cancelJob(id, cancel, now) {
      const job = await store.cancelJob(id, cancel, now);
      if (job.state === "cancelled") metrics.jobEnded("cancelled");
      return job;
    },
  };
}

const ends = {
  succeed: "succeeded",
  fail: "failed",
  end_cancelled: "cancelled",
  time_out: "timed_out",
} as const;
