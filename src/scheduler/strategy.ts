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
  readonly pricePerHour: number;
  readonly startEstimateMs: number;
}

export interface StrategyContext {
  readonly resources: Resources;
  readonly labels: Readonly<Record<string, string>>;
  /** Grows by one with every decision, for strategies that take turns. */
  readonly turn: number;
}

export interface Ranked {
  readonly name: string;
  /** Higher is better. */
  readonly score: number;
  /** In a few words, for the explanation. */
  readonly reason: string;
}

/** Ranks candidates, best first; may leave some out. Pure; equals keep the order of the configuration. */
export type Strategy = (
  candidates: readonly Candidate[],
  context: StrategyContext,
) => readonly Ranked[];

/** The order of the configuration. */
const firstAvailable: Strategy = (candidates) =>
  candidates
    .toSorted((one, other) => one.position - other.position)
    .map((candidate) => ({
      name: candidate.name,
      score: 1 / (1 + candidate.position),
      reason: `number ${candidate.position + 1} in the configuration`,
    }));

export const strategies = { first_available: firstAvailable } as const satisfies Readonly<
  Record<string, Strategy>
>;
export type StrategyName = keyof typeof strategies;
