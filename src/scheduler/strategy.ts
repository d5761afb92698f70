import type { Resources } from "#job/job.ts";

/** A provider that can take a worker now, with what a strategy may weigh. */
export interface Candidate {
  readonly name: string;
  readonly type: string;
  /** Its place in the configuration, from 0. */
  readonly position: number;
  /** From 0 (sick) to 1 (well). */
  readonly healthScore: number;
  /** Live workers, those of this round included. */
  readonly workers: number;
  readonly maxWorkers: number;
  /** Of the resources asked for, in units of the operator's choice. */
  readonly pricePerHour: number;
  /** How long a start is expected to take. */
  readonly startEstimateMs: number;
  readonly labels: Readonly<Record<string, string>>;
}

export interface StrategyContext {
  readonly resources: Resources;
  /** Labels that the job would like its provider to have. */
  readonly labels: Readonly<Record<string, string>>;
  /** Grows by one with every decision, for strategies that take turns. */
  readonly turn: number;
}

export interface Ranked {
  readonly name: string;
  /** Higher is better. */
  readonly score: number;
  /** In a few words, for the explanation; empty when the parts say it all. */
  readonly reason: string;
  /** What the score is made of, where it is more than one thing. */
  readonly parts?: Readonly<Record<string, number>>;
}

/**
 * Ranks candidates, best first; may leave some out, which are then not used. Pure: the same candidates in another order give the same ranking. A
 * module of your own may export one (`HODEI_STRATEGY`); the ones that come along are in `strategies`.
 */
export type Strategy = (
  candidates: readonly Candidate[],
  context: StrategyContext,
) => readonly Ranked[];

/** A candidate below this is as good as sick: no strategy that comes along ever chooses it. */
export const leastHealth = 0.5;

/** How much of a provider is free, from 0 to 1. */
export function spareOf({ workers, maxWorkers }: Candidate): number {
  return maxWorkers === 0 ? 0 : Math.max(0, 1 - workers / maxWorkers);
}

/** What a strategy weighs of one candidate; the higher the better. */
type Weigh = (candidate: Candidate, context: StrategyContext) => Omit<Ranked, "name">;

/** Ranks by what `weigh` says. Equals keep the order of the configuration. */
function rankBy(weigh: Weigh): Strategy {
  return (candidates, context) =>
    well(candidates)
      .map((candidate) => ({ name: candidate.name, ...weigh(candidate, context) }))
      .toSorted((one, other) => other.score - one.score);
}

/** Those that are well, in the order of the configuration. */
function well(candidates: readonly Candidate[]): readonly Candidate[] {
  return candidates
    .filter(({ healthScore }) => healthScore >= leastHealth)
    .toSorted((one, other) => one.position - other.position || compare(one.name, other.name));
}

const firstAvailable = rankBy(({ position }) => ({
  score: 1 / (1 + position),
  reason: `number ${position + 1} in the configuration`,
}));

/** A cheap provider that fails is not cheap; among equals the emptier one is. */
const lowestCost = rankBy((candidate) => {
  const { pricePerHour, healthScore } = candidate;
  const price = pricePerHour * factor(healthScore, [1, 1.2, 1.5]) * (1 - spareOf(candidate) / 10);
  return { score: 1 / (1 + price), reason: `${round(pricePerHour)} an hour` };
});

/** A quick provider that fails is not quick. */
const fastestStartup = rankBy(({ startEstimateMs, healthScore }) => ({
  score: 1 / (1 + (startEstimateMs * factor(healthScore, [1, 1.3, 1.8])) / 1_000),
  reason: `starts in ${round(startEstimateMs / 1_000)} s`,
}));

const mostCapacity = rankBy((candidate) => ({
  score: spareOf(candidate),
  reason: `${candidate.maxWorkers - candidate.workers} of ${candidate.maxWorkers} workers free`,
}));

const roundRobin: Strategy = (candidates, { turn }) => {
  const all = well(candidates);
  const first = all.length === 0 ? 0 : turn % all.length;
  return [...all.slice(first), ...all.slice(0, first)].map(({ name }, place) => ({
    name,
    score: 1 / (1 + place),
    reason: place === 0 ? "its turn" : `${place} turns later`,
  }));
};

/** Shares of a weighted strategy; they add up to one. */
export interface Weights {
  readonly health: number;
  readonly cost: number;
  readonly startup: number;
  readonly capacity: number;
}

/** Ranks by the weighted sum of health, cost, start-up time and spare capacity, each from 0 to 1 among the candidates. */
export function weighted(weights: Weights): Strategy {
  return (candidates, context) => {
    const all = well(candidates);
    const mostPrice = Math.max(0.01, ...all.map(({ pricePerHour }) => pricePerHour));
    const longest = Math.max(1, ...all.map(({ startEstimateMs }) => startEstimateMs));
    return rankBy((candidate) => {
      const parts = {
        health: candidate.healthScore,
        cost: 1 - candidate.pricePerHour / mostPrice,
        startup: 1 - candidate.startEstimateMs / longest,
        capacity: spareOf(candidate),
      };
      const score =
        weights.health * parts.health +
        weights.cost * parts.cost +
        weights.startup * parts.startup +
        weights.capacity * parts.capacity;
      return { score, reason: "", parts };
    })(all, context);
  };
}

const balanced = weighted({ health: 0.25, cost: 0.25, startup: 0.25, capacity: 0.25 });

/** Health alone; the rest settles what is equally well. */
const healthiest: Strategy = (candidates, context) => {
  const order = new Map(balanced(candidates, context).map(({ name }, place) => [name, place]));
  return well(candidates)
    .toSorted(
      (one, other) =>
        other.healthScore - one.healthScore ||
        (order.get(one.name) ?? 0) - (order.get(other.name) ?? 0),
    )
    .map(({ name, healthScore }) => ({
      name,
      score: healthScore,
      reason: `health ${round(healthScore)}`,
    }));
};

/** The most of the labels that the job would like; the quickest start among equals. */
const byLabels: Strategy = (candidates, context) => {
  const wishes = Object.entries(context.labels);
  const order = fastestStartup(candidates, context).map(({ name }) => name);
  return well(candidates)
    .map(({ name, labels }) => ({
      name,
      matches: wishes.filter(([key, value]) => labels[key] === value).length,
    }))
    .toSorted(
      (one, other) =>
        other.matches - one.matches || order.indexOf(one.name) - order.indexOf(other.name),
    )
    .map(({ name, matches }) => ({
      name,
      score: wishes.length === 0 ? 0 : matches / wishes.length,
      reason: `${matches} of ${wishes.length} preferred labels`,
    }));
};

/** The strategies that come along, by the names under which the configuration and jobs ask for them. */
export const strategies = {
  first_available: firstAvailable,
  lowest_cost: lowestCost,
  fastest_startup: fastestStartup,
  most_capacity: mostCapacity,
  healthiest,
  by_labels: byLabels,
  round_robin: roundRobin,
  balanced,
  cost_optimized: weighted({ health: 0.15, cost: 0.5, startup: 0.2, capacity: 0.15 }),
  performance: weighted({ health: 0.2, cost: 0.1, startup: 0.5, capacity: 0.2 }),
  health_critical: weighted({ health: 0.5, cost: 0.15, startup: 0.2, capacity: 0.15 }),
} as const satisfies Readonly<Record<string, Strategy>>;
export type StrategyName = keyof typeof strategies;

/** Very well, well, and only just. */
function factor(
  healthScore: number,
  [best, good, poor]: readonly [number, number, number],
): number {
  if (healthScore >= 0.9) return best;
  return healthScore >= 0.7 ? good : poor;
}

function round(value: number): string {
  return String(Math.round(value * 1_000) / 1_000);
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
