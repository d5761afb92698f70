import type { Failure } from "#job/failure.ts";
import { parseClassKey } from "#worker/class.ts";
import type { Worker } from "#worker/worker.ts";
import { changeCircuit, type Keeping } from "./providers-changes.ts";
import type { Known } from "./providers-known.ts";
import { learnStart, learnStartTime } from "./providers-learned.ts";

/** What is learned from starts. */
export interface StartLessons {
  /** A start failed: the provider gets no worker of the class for a pause that grows, and perhaps no worker at all. */
  startFailed(start: Start, why: Failure): void;
  /** Learns from the starts that went well. */
  learn(live: readonly Worker[]): void;
  /** A worker that has worked is over. */
  learnEnd(worker: Worker): void;
}

export type Start = Pick<Worker, "id" | "provider" | "classKey" | "plannedAt">;

export function learnStarts(options: Keeping, known: ReadonlyMap<string, Known>): StartLessons {
  const { limits, now } = options;
  return {
    startFailed(start, why) {
      const entry = known.get(start.provider);
      // One that has lasted did start, whatever became of it later.
      if (entry === undefined || entry.judged.has(start.id)) return;
      pause(options, entry, { start, why });
      if (!isItsFault(why, start)) return;
      entry.judged.add(start.id);
      entry.learned = learnStart(entry.learned, false, now());
      const { plannedAt } = start;
      changeCircuit(options, entry, { kind: "failed", plannedAt, reason: why.message });
    },
    learn(live) {
      for (const worker of live) {
        const entry = known.get(worker.provider);
        if (entry === undefined || worker.readyAt === undefined) continue;
        learnTime(options, entry, { ...worker, readyAt: worker.readyAt });
        // One that has done no work yet may be one that dies as soon as it is there.
        const hasLasted = worker.readyAt < now() - limits.suspectMs;
        const hasWorked = worker.attempts > worker.jobs.length;
        if (worker.state === "ready" && (hasWorked || hasLasted)) praise(options, entry, worker);
      }
      const ids = new Set(live.map(({ id }) => id));
      for (const { timed, judged } of known.values()) {
        for (const id of timed) if (!ids.has(id)) timed.delete(id);
        for (const id of judged) if (!ids.has(id)) judged.delete(id);
      }
    },
    learnEnd(worker) {
      const entry = known.get(worker.provider);
      if (entry === undefined || worker.attempts === 0 || worker.readyAt === undefined) return;
      learnTime(options, entry, { ...worker, readyAt: worker.readyAt });
      praise(options, entry, worker);
    },
  };
}

/** Whether the failure says something of the provider as a whole: not of the job, its image or its image's registry, of a quota or a policy, or of this server. */
function isItsFault({ blame, cause, stage }: Failure, { classKey }: Start): boolean {
  if (stage === "pulling" && blame === "provider" && parseClassKey(classKey).image !== "")
    return false;
  return (blame === "provider" || blame === "node") && cause !== "quota";
}

function learnTime(
  { now }: Keeping,
  entry: Known,
  worker: { readonly id: Worker["id"]; readonly plannedAt: number; readonly readyAt: number },
): void {
  if (entry.timed.has(worker.id) || worker.readyAt <= entry.timedUntil) return;
  entry.timed.add(worker.id);
  const startMs = Math.max(0, worker.readyAt - worker.plannedAt);
  const expectedMs = entry.provider.startEstimateMs();
  entry.learned = learnStartTime(entry.learned, { startMs, now: now(), expectedMs });
}

function praise(options: Keeping, entry: Known, start: Start): void {
  if (entry.judged.has(start.id)) return;
  entry.judged.add(start.id);
  entry.pauses.delete(start.classKey);
  entry.learned = learnStart(entry.learned, true, options.now());
  changeCircuit(options, entry, { kind: "succeeded", plannedAt: start.plannedAt });
}

/** A class that failed long ago starts afresh, so that the memory stays bounded; so does one whose pause a clock that was set back has made too long. */
export function dropPauses({ limits, now }: Keeping, { pauses }: Known): void {
  for (const [key, { until }] of pauses) {
    if (Math.abs(until - now()) > limits.maxStartBackoffMs) pauses.delete(key);
  }
}

function pause(
  { limits, now, random }: Keeping,
  entry: Known,
  { start, why }: { readonly start: Start; readonly why: Failure },
): void {
  const failures = (entry.pauses.get(start.classKey)?.failures ?? 0) + 1;
  const pauseMs = Math.min(limits.maxStartBackoffMs, limits.startBackoffMs * 2 ** (failures - 1));
  const until = now() + pauseMs * (0.5 + random() / 2);
  const isForImage = why.stage === "pulling";
  entry.pauses.set(start.classKey, { failures, until, reason: why.message, isForImage });
}
