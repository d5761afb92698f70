import type { Failure, Stage } from "#job/failure.ts";
import type { JobSpec } from "#job/job.ts";
import type { LogStore } from "#logstore/logstore.ts";
import type { Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import type { Worker } from "#worker/worker.ts";
import type { Providers } from "./providers.ts";
import type { Attempts, JobWatch } from "./scheduler.ts";
import type { SchedulerLimits, SchedulerMetrics, WorkerReuse } from "./start-options.ts";

/** What every loop of the scheduler works with. */
export interface Parts {
  readonly store: Store;
  readonly logStore: LogStore;
  readonly providers: Providers;
  readonly attempts: Attempts;
  readonly watch: JobWatch;
  readonly readSpec: (bytes: Uint8Array) => JobSpec;
  readonly log: Logger;
  readonly metrics: SchedulerMetrics | undefined;
  readonly limits: SchedulerLimits;
  readonly reuse: WorkerReuse;
  readonly now: () => number;
  readonly monotonic: () => number;
  readonly random: () => number;
}

export interface StageNote {
  readonly stage: Stage;
  readonly message: string;
  readonly failure?: Failure;
}

/** Writes what happens to a worker into the history of the job that waits for it, or of those that it runs. */
export async function noteStage(parts: Parts, worker: Worker, note: StageNote): Promise<void> {
  const ids = worker.readyAt === undefined ? await waitingJob(parts, worker) : worker.jobs;
  if (ids.length === 0) return;
  const stages = ids.map((jobId) => ({ jobId, workerId: worker.id, ...note }));
  await parts.store.recordStages(stages, parts.now());
  parts.watch.touch(ids);
}

async function waitingJob(parts: Parts, { forJob }: Worker): Promise<Worker["jobs"]> {
  if (forJob === undefined) return [];
  const job = await parts.store.findJob(forJob);
  return job?.state === "queued" ? [forJob] : [];
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
