/**
 * What a provider has shown lately. Everything fades: each half-life halves the weight of what was seen, so that nothing is held against a provider for ever,
 * and what is said goes back to what was expected before anything was seen.
 */
export interface Learned {
  /** Mean of the start-up times, the newest weigh most. */
  readonly startMs: number;
  readonly startAt: number;
  /** Starts seen; undefined as long as there is none. */
  readonly starts: Tally;
  readonly checks: Tally;
}

/** Fading counts of what went well and what did not. */
interface Tally {
  readonly good: number;
  readonly bad: number;
  readonly at: number;
}

/** Of a provider of which nothing was seen. */
const priorScore = 0.95;
const halfLifeMs = 300_000;
/** How much one start moves the mean. */
const share = 0.3;
/** What is left of older looks with each new one, so that a busy provider that breaks is not praised for its past. */
const memory = 0.9;
/** A start-up time up to the first is perfect, from the second on it counts for nothing. */
const [bestStartMs, worstStartMs] = [5_000, 30_000];

export const nothingLearned: Learned = {
  startMs: 0,
  startAt: -Infinity,
  starts: { good: 0, bad: 0, at: 0 },
  checks: { good: 0, bad: 0, at: 0 },
};

/** A worker called back `startMs` after it was planned. */
export function learnStartTime(
  learned: Learned,
  seen: { readonly startMs: number; readonly now: number; readonly expectedMs: number },
): Learned {
  const { startMs, now, expectedMs } = seen;
  const before = startEstimate(learned, { now, expectedMs });
  return { ...learned, startMs: before + share * (startMs - before), startAt: now };
}

/** How long a start takes, from what was seen and what the provider expects. */
export function startEstimate(
  learned: Learned,
  { now, expectedMs }: { readonly now: number; readonly expectedMs: number },
): number {
  const weight = fade(now - learned.startAt);
  return weight === 0 ? expectedMs : weight * learned.startMs + (1 - weight) * expectedMs;
}

export function learnStart(learned: Learned, isGood: boolean, now: number): Learned {
  return { ...learned, starts: added(learned.starts, isGood ? 1 : 0, now) };
}

/** `goodness`: 1 when the provider said that it is well, 0 when it is sick or did not answer. */
export function learnCheck(learned: Learned, goodness: number, now: number): Learned {
  return { ...learned, checks: added(learned.checks, goodness, now) };
}

/** From 0 (sick) to 1 (well): half of it the starts that succeed, three tenths how quick they are, a fifth the answers to health checks. */
export function healthScore(
  learned: Learned,
  { now, expectedMs }: { readonly now: number; readonly expectedMs: number },
): number {
  const starts = faded(learned.starts, now);
  const checks = faded(learned.checks, now);
  const seen = starts.good + starts.bad;
  const asked = checks.good + checks.bad;
  const success = seen === 0 ? 1 : starts.good / seen;
  const error = asked === 0 ? 0 : checks.bad / asked;
  const startMs = startEstimate(learned, { now, expectedMs });
  const quickness = clamp((worstStartMs - startMs) / (worstStartMs - bestStartMs));
  const score = 0.5 * success + 0.3 * quickness + 0.2 * (1 - error);
  // One look says as much as the expectation does; many looks say more. Answers alone say little of starts.
  const evidence = seen + Math.min(1, asked / 10);
  const weight = evidence / (evidence + 1);
  return weight * score + (1 - weight) * priorScore;
}

function added(tally: Tally, goodness: number, now: number): Tally {
  const { good, bad } = faded(tally, now);
  return { good: good * memory + goodness, bad: bad * memory + 1 - goodness, at: now };
}

function faded({ good, bad, at }: Tally, now: number): Tally {
  const weight = fade(now - at);
  return { good: good * weight, bad: bad * weight, at: now };
}

/** A clock that was set back fades nothing. */
function fade(ageMs: number): number {
  return 2 ** (-Math.max(0, ageMs) / halfLifeMs);
}

function clamp(value: number): number {
  return Math.min(1, Math.max(0, value));
}
