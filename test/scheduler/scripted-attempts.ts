import type { Failure } from "#job/failure.ts";
import type { AttemptId, JobId, WorkerId } from "#job/id.ts";
import type { Job, JobSpec } from "#job/job.ts";
import { judge } from "#job/retry.ts";
import type { Attempts } from "#scheduler/scheduler.ts";
import type { Parts } from "#scheduler/start-parts.ts";

/** Knows no agents; writes down what it was told, and ends attempts as the real one does. */
export class ScriptedAttempts implements Attempts {
  readonly silent = new Map<WorkerId, number>();
  readonly connected = new Set<WorkerId>();
  readonly told: string[] = [];
  readonly lost: {
    readonly workerId: WorkerId;
    readonly failure: Failure;
    readonly tail: string | undefined;
  }[] = [];
  readonly #store: Parts["store"];
  readonly #now: () => number;
  readonly #readSpec: (bytes: Uint8Array) => JobSpec;

  constructor(store: Parts["store"], now: () => number, readSpec: (bytes: Uint8Array) => JobSpec) {
    this.#store = store;
    this.#now = now;
    this.#readSpec = readSpec;
  }

  connect(): Promise<never> {
    return Promise.reject(new Error("agents are played by the test"));
  }

  isConnected(id: WorkerId): boolean {
    return this.connected.has(id);
  }

  wake(): void {}

  lead(): void {}

  follow(): void {}

  signalCancel(job: Job): void {
    this.told.push(`cancel ${job.id}`);
  }

  signalDrain(id: WorkerId): void {
    this.told.push(`drain ${id}`);
  }

  fenceAttempt(_: WorkerId, attemptId: AttemptId): void {
    this.told.push(`fence ${attemptId}`);
  }

  forgetWorker(id: WorkerId): void {
    this.silent.delete(id);
  }

  async appendLog(): Promise<"fenced"> {
    return "fenced";
  }

  listSilent() {
    return Array.from(this.silent, ([workerId, silentMs]) => ({ workerId, silentMs }));
  }

  stats() {
    return { workers: 0, attempts: 0, heard: 0 };
  }

  async loseWorker(
    worker: { readonly id: WorkerId; readonly jobs: readonly JobId[] },
    failure: Failure,
    tail?: Uint8Array,
  ): Promise<void> {
    const text = tail && new TextDecoder().decode(tail);
    this.lost.push({ workerId: worker.id, failure, tail: text });
    const now = this.#now();
    for (const jobId of worker.jobs) {
      const job = await this.#store.findJob(jobId);
      const attempt = job?.attempts.at(-1);
      if (job === undefined || attempt === undefined) continue;
      const own = { ...failure, userCodeMayHaveRun: job.state === "running" };
      const { move, isSpent } = judge(this.#readSpec(job.spec), own, {
        ...job,
        maxInfraRetries: 10,
        random: 0,
      });
      const next =
        move === "requeue"
          ? { kind: "queued" as const, notBefore: now, deadline: now + 60_000, isSpent }
          : { kind: "over" as const, expiresAt: now + 60_000 };
      const outcome = {
        exitCode: undefined,
        signal: undefined,
        failure: own,
        startedAt: undefined,
        endedAt: now,
        peak: undefined,
      };
      await this.#store.finishAttempts(
        [{ jobId, attemptId: attempt.id, outcome, move, next, expiresAt: now + 60_000 }],
        now,
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
