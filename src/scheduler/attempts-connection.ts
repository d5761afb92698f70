import type { AttemptId, JobId } from "#job/id.ts";
import type { Job } from "#job/job.ts";
import { type Finishes, hasEnded } from "./attempts-finish.ts";
import { endLog } from "./attempts-logs.ts";
import { confirmRecall } from "./attempts-recall.ts";
import type { Starts } from "./attempts-starts.ts";
import { findHeld, type Ground, type Held, type Side } from "./attempts-side.ts";
import type {
  Connection,
  DrainNotice,
  ResultReport,
  StartReport,
  UsageReport,
} from "./scheduler.ts";

export interface ConnectionParts {
  readonly side: Side;
  readonly epoch: number;
  readonly hear: () => void;
  /** A slot has become free. */
  readonly claim: () => void;
  readonly drain: (notice: DrainNotice) => void;
  readonly leave: (reason: string) => void;
  readonly close: () => void;
}

/** Where what agents say is stored. */
export interface Writes {
  readonly starts: Starts;
  readonly finishes: Finishes;
}

/** What one Control stream says. What an attempt is not this worker's is fenced and changes nothing (DESIGN G8). */
export class LiveConnection implements Connection {
  readonly #ground: Ground;
  readonly #writes: Writes;
  readonly #parts: ConnectionParts;

  constructor(ground: Ground, writes: Writes, parts: ConnectionParts) {
    this.#ground = ground;
    this.#writes = writes;
    this.#parts = parts;
  }

  renew(usages: readonly UsageReport[]): void {
    if (!this.#isNewest()) return;
    this.#parts.hear();
    for (const { attemptId, usage } of usages) {
      const held = this.#parts.side.attempts.get(attemptId);
      if (held !== undefined) held.peak = usage;
    }
  }

  started(starts: readonly StartReport[]): Promise<void> | undefined {
    if (!this.#isNewest()) return undefined;
    const known: Known<StartReport>[] = [];
    const unknown = this.#split(starts, known);
    this.#start(known);
    return unknown.length === 0 ? undefined : this.#look(unknown, (found) => this.#start(found));
  }

  finished(results: readonly ResultReport[]): Promise<void> | undefined {
    if (!this.#isNewest()) return undefined;
    const known: Known<ResultReport>[] = [];
    const unknown = this.#split(results, known);
    this.#finish(known);
    return unknown.length === 0 ? undefined : this.#look(unknown, (found) => this.#finish(found));
  }

  dropped(attemptId: AttemptId, mayHaveRun: boolean): void {
    if (!this.#isNewest()) return;
    const { side } = this.#parts;
    const { finishes } = this.#writes;
    confirmRecall(this.#ground, finishes, { side, attemptId, mayHaveRun })
      .then(() => this.#parts.claim())
      .catch((err: unknown) => {
        // The agent is asked again, and says so again.
        this.#ground.log.warn({ workerId: side.id, attemptId, err }, "a drop was not stored");
      });
  }

  draining(notice: DrainNotice): void {
    if (this.#isNewest()) this.#parts.drain(notice);
  }

  goodbye(reason: string): void {
    if (this.#isNewest()) this.#parts.leave(reason);
  }

  closed(): void {
    this.#parts.close();
  }

  /** What an older connection still has to say was, or will be, said again on the newer one. */
  #isNewest(): boolean {
    return this.#parts.side.epoch === this.#parts.epoch;
  }

  #split<Report extends AttemptReport>(
    reports: readonly Report[],
    known: Known<Report>[],
  ): readonly Report[] {
    const { attempts } = this.#parts.side;
    const unknown: Report[] = [];
    for (const report of reports) {
      const held = attempts.get(report.attemptId);
      if (held === undefined || held.jobId !== report.jobId) unknown.push(report);
      else known.push({ held, report });
    }
    return unknown;
  }

  /** Asks the store about attempts that are not in memory. */
  async #look<Report extends AttemptReport>(
    reports: readonly Report[],
    step: (found: Known<Report>[]) => void,
  ): Promise<void> {
    const { side } = this.#parts;
    for (const report of reports) {
      const job = await this.#ground.store.findJob(report.jobId);
      if (!this.#isNewest()) return;
      const held = job && findHeld(side, job, report.attemptId);
      if (held !== undefined) step([{ held, report }]);
      else this.#refuse(report, job);
    }
  }

  #refuse(report: AttemptReport, job: Job | undefined): void {
    const { side } = this.#parts;
    if (!isResult(report)) return this.#fence(report.attemptId);
    if (hasEnded(job, side.id, report.attemptId))
      return this.#writes.finishes.repeat(side, job, report);
    this.#ground.count("fenced");
    side.link?.acknowledge(report.attemptId, "fenced");
  }

  #fence(attemptId: AttemptId): void {
    this.#ground.count("fenced");
    this.#parts.side.attempts.delete(attemptId);
    this.#parts.side.link?.fence(attemptId);
  }

  #start(found: readonly Known<StartReport>[]): void {
    const { side } = this.#parts;
    const starts = found.map(({ held, report }) => ({ side, held, startedAt: report.startedAt }));
    this.#writes.starts.report(starts);
  }

  #finish(results: readonly Known<ResultReport>[]): void {
    for (const { held, report } of results) {
      // A repeat of one that is under way is answered together with it.
      if (held.phase === "waiting" || held.phase === "storing") continue;
      const { outcome } = report;
      const whole = outcome.peak === undefined ? { ...outcome, peak: held.peak } : outcome;
      if (report.lastLogBatch === 0 && held.logBatch === 0) {
        this.#writes.finishes.report(this.#parts.side, held, whole);
      } else this.#finishAfterLog(held, { ...report, outcome: whole });
    }
  }

  #finishAfterLog(held: Held, report: ResultReport): void {
    const { side } = this.#parts;
    const { log } = this.#ground;
    held.phase = "waiting";
    endLog(this.#ground, { side, held }, report.lastLogBatch)
      .then((isEnded) => {
        // Lost or fenced by another hand while it waited: what came of it is stored already, and a repeat is answered from there.
        if (side.attempts.get(held.attemptId) !== held) return;
        if (isEnded) this.#writes.finishes.report(side, held, report.outcome);
        else held.phase = "running";
      })
      .catch((error: unknown) => {
        log.error({ ...held.facts, err: error }, "log was not ended");
        held.phase = "running";
        side.link?.close("unavailable");
      });
  }
}

interface AttemptReport {
  readonly attemptId: AttemptId;
  readonly jobId: JobId;
}

interface Known<Report> {
  readonly held: Held;
  readonly report: Report;
}

function isResult(report: AttemptReport | ResultReport): report is ResultReport {
  return "outcome" in report;
}
