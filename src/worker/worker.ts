import type { Failure } from "#job/failure.ts";
import type { JobId, WorkerId } from "#job/id.ts";

export const workerStates = [
  "planned",
  "starting",
  "ready",
  "draining",
  "stopping",
  "ended",
] as const;
/**
 * planned: the start is intended and stored. starting: the provider's create call returned. ready: the token was redeemed.
 * draining: takes nothing new. stopping: is being ended, and its provider resource may still exist. ended: confirmed gone.
 */
export type WorkerState = (typeof workerStates)[number];

export type WorkerMove = "create" | "redeem" | "drain" | "stop" | "end";

/** Every legal move of a worker. A repeated move from its own target is no change and no error. */
export const workerMoves: Readonly<
  Record<WorkerMove, { readonly from: readonly WorkerState[]; readonly to: WorkerState }>
> = {
  create: { from: ["planned"], to: "starting" },
  redeem: { from: ["planned", "starting"], to: "ready" },
  drain: { from: ["ready"], to: "draining" },
  stop: { from: ["planned", "starting", "ready", "draining"], to: "stopping" },
  end: { from: ["planned", "starting", "ready", "draining", "stopping"], to: "ended" },
};

/** Whether the job that it was planned for still counts on it. */
export function isExpected(worker: Pick<Worker, "state" | "isForJobOnly" | "attempts">): boolean {
  const { state, isForJobOnly, attempts } = worker;
  return (
    state === "planned" ||
    state === "starting" ||
    (state === "ready" && isForJobOnly && attempts === 0)
  );
}

/** Whether a worker in this state may be given attempts. */
export function takesAttempts(state: WorkerState): boolean {
  return state === "ready";
}

/** A worker as the store knows it. Times are milliseconds since 1970. */
export interface Worker {
  readonly id: WorkerId;
  readonly provider: string;
  readonly classKey: string;
  readonly state: WorkerState;
  /** The tenant that it is bound to; undefined while it is free. */
  readonly tenant: string | undefined;
  /** The job whose demand caused it; its history gets this worker's stages. Undefined for a warm one. */
  readonly forJob: JobId | undefined;
  /** Runs `forJob` and no other, since its resource carries that job's labels and times; without a `forJob` it runs any job of its class. */
  readonly isForJobOnly: boolean;
  /** What an hour of it was to cost when it was planned, in units of the operator's choice. */
  readonly pricePerHour: number;
  /** The provider's deterministic name of the resource. */
  readonly resourceName: string;
  /** The provider's unique id of the resource; undefined until the create call has returned. */
  readonly resourceUid: string | undefined;
  readonly slots: number;
  /** Attempts that it may be given in its life. */
  readonly maxJobs: number;
  /** Attempts given to it so far. */
  readonly attempts: number;
  /** Jobs that it has now. */
  readonly jobs: readonly JobId[];
  readonly plannedAt: number;
  readonly readyAt: number | undefined;
  readonly endedAt: number | undefined;
  /** Until when it must have redeemed its token; undefined afterwards. */
  readonly startDeadline: number | undefined;
  readonly failure: Failure | undefined;
  readonly reason: string;
  readonly hostname: string;
  /** Number of its newest connection, one higher with each; 0 while it has not connected. */
  readonly connection: number;
  readonly expiresAt: number | undefined;
}
