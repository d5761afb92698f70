import { after } from "./after.ts";
import type { Attempt } from "./attempt.ts";
import type { AgentLog } from "./log.ts";

/** Ends that somebody else has brought about: there is nothing to look at. */
const endedByOthers = ["cancelled", "self_stopped", "worker_stopped"];

/** Keeps a worker whose only job failed, and the job's files, for as long as the job asked. Its processes are gone all the same. */
export class Hold {
  readonly #log: AgentLog;
  readonly #onOver: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** `onOver` is called when the time has passed. */
  constructor(log: AgentLog, onOver: () => void) {
    this.#log = log;
    this.#onOver = onOver;
  }

  get isOn(): boolean {
    return this.#timer !== undefined;
  }

  /** Begins when the attempt's end is worth a look; whether it did. */
  begin(attempt: Attempt, maxJobs: number): boolean {
    const { jobId, directory, outcome } = attempt;
    const { holdMs } = attempt.spec;
    const cause = outcome?.failure?.cause;
    if (maxJobs !== 1 || holdMs <= 0 || cause === undefined || endedByOthers.includes(cause)) {
      return false;
    }
    const facts = { jobId, cause, directory, holdSeconds: Math.round(holdMs / 1000) };
    this.#log.warn(facts, "the job failed; this worker is kept so that its files can be looked at");
    this.#timer = after(holdMs, () => {
      this.end();
      this.#onOver();
    });
    return true;
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
