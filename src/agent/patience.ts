import type { Attempt } from "./attempt.ts";

const shortestRenewMs = 10;

/**
 * How long attempts may go on without contact (DESIGN G9). What runs counts from the last contact; what waits to be started does no harm and
 * counts from its arrival.
 */
export function dueOf(attempt: Attempt, lastContactAt: number): number {
  const from = attempt.isWaiting ? Math.max(attempt.takenAt, lastContactAt) : lastContactAt;
  return from + attempt.spec.disconnectToleranceMs;
}

/** What has gone on for too long. */
export function overdueOf(
  attempts: ReadonlyMap<string, Attempt>,
  lastContactAt: number,
  now: number,
): Attempt[] {
  const open = [...attempts.values()].filter(({ outcome }) => outcome === undefined);
  return open.filter((attempt) => dueOf(attempt, lastContactAt) <= now);
}

/** Whether it may be started now. An order that is older than the tolerance may have been given to another worker meanwhile. */
export function isFresh(attempt: Attempt, lastContactAt: number, now: number): boolean {
  return now < lastContactAt + attempt.spec.disconnectToleranceMs;
}

/** When something must be stopped, or the agent itself leaves, unless the server is heard before. */
export function nextDue(
  attempts: ReadonlyMap<string, Attempt>,
  { lastContactAt, patienceMs }: { lastContactAt: number; patienceMs: number },
): number {
  const open = [...attempts.values()].filter(({ outcome }) => outcome === undefined);
  if (open.length > 0) return Math.min(...open.map((attempt) => dueOf(attempt, lastContactAt)));
  // What is still to be delivered is worth waiting for as long again; by then nobody wants it any more.
  return lastContactAt + patienceMs * (attempts.size > 0 ? 2 : 1);
}

/** The pause between renewals: what the server says, or less where a job tolerates less. */
export function renewPauseMs(attempts: ReadonlyMap<string, Attempt>, askedMs: number): number {
  let pauseMs = askedMs;
  for (const { outcome, spec } of attempts.values()) {
    if (outcome === undefined) pauseMs = Math.min(pauseMs, spec.disconnectToleranceMs / 4);
  }
  return Math.max(shortestRenewMs, pauseMs);
}
