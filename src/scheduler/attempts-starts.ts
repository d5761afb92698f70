import type { AttemptStart } from "#store/store.ts";
import { checkTime, runDeadline } from "./attempts-connect.ts";
import type { Ground, Held, Side } from "./attempts-side.ts";

interface Start {
  readonly side: Side;
  readonly held: Held;
  readonly startedAt: number;
}

/**
 * Stores that processes run. Where a worker's last job was over at once, its next start waits a moment for its end: the end alone says
 * both (`Store.finishAttempts`), and costs one commit instead of two.
 */
export class Starts {
  readonly #ground: Ground;
  readonly #waiting = new Map<Held, Start>();
  #timer: NodeJS.Timeout | undefined;

  constructor(ground: Ground) {
    this.#ground = ground;
  }

  report(starts: readonly Start[]): void {
    const fresh = starts.filter(({ held }) => held.phase === "assigned");
    for (const { held } of fresh) {
      held.phase = "running";
      held.checkAt = checkTime(this.#ground, held, true);
    }
    this.#store(fresh.filter(({ side }) => !side.hasShortJobs));
    for (const start of fresh) if (start.side.hasShortJobs) this.#waiting.set(start.held, start);
    if (this.#waiting.size === 0 || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => this.#flush(), this.#ground.limits.gatherMs);
  }

  /** The attempt is over, which says that it started. */
  settle(held: Held): void {
    const start = this.#waiting.get(held);
    if (start === undefined) return;
    this.#waiting.delete(held);
    this.#log(start);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#flush();
  }

  #flush(): void {
    this.#timer = undefined;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    // What was lost or fenced meanwhile is another hand's.
    this.#store(waiting.filter(({ side, held }) => side.attempts.get(held.attemptId) === held));
  }

  #store(starts: readonly Start[]): void {
    if (starts.length === 0) return;
    const { store, watch, log, now } = this.#ground;
    const steps = starts.map(({ held, startedAt }): AttemptStart => {
      const { jobId, attemptId } = held;
      return { jobId, attemptId, startedAt, deadline: runDeadline(this.#ground, held) };
    });
    store
      .startAttempts(steps, now())
      .then((answers) => {
        starts.forEach((start, index) => {
          if (answers[index] === "fenced") this.#fence(start);
          else this.#log(start);
        });
        watch.touch(steps.map(({ jobId }) => jobId));
      })
      .catch((error: unknown) => {
        log.error({ err: error, attempts: steps.length }, "starts were not stored");
        for (const { side, held } of starts) {
          if (held.phase === "running") held.phase = "assigned";
          side.link?.close("unavailable");
        }
      });
  }

  #fence({ side, held }: Start): void {
    this.#ground.count("fenced");
    side.attempts.delete(held.attemptId);
    side.link?.fence(held.attemptId);
  }

  #log({ side, held }: Start): void {
    this.#ground.log.info({ ...held.facts, workerId: side.id }, "job started");
  }
}
