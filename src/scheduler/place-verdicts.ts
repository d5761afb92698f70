import type { Resources } from "#job/job.ts";
import { parseClassKey, type WorkerClass } from "#worker/class.ts";
import type { ProviderVerdict } from "./scheduler.ts";
import type { Candidate, Ranked, Strategy } from "./strategy.ts";

/** What is known of a provider when a round begins. Its functions are pure. */
export interface ProviderView {
  readonly name: string;
  readonly type: string;
  readonly health: "healthy" | "degraded" | "unhealthy";
  readonly healthReason: string;
  readonly healthScore: number;
  readonly maxWorkers: number;
  readonly startEstimateMs: number;
  /** Whether its workers belong to one tenant from the start. */
  readonly bindsTenant: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** Classes whose last start failed here, with the time until which nothing is tried. */
  readonly pauses: ReadonlyMap<string, Pause>;
  refusalOf(workerClass: WorkerClass): string | undefined;
  pricePerHour(resources: Resources): number;
}

export interface Pause {
  readonly until: number;
  readonly reason: string;
}

export interface VerdictContext {
  readonly providers: readonly ProviderView[];
  readonly strategy: Strategy;
  readonly turn: number;
  readonly now: number;
  /** Live workers of a provider, those that are being ended included. */
  workersOf(provider: string): number;
}

export interface ClassVerdict {
  /** Best first: the providers that can take a worker of the class now. */
  readonly ranked: readonly string[];
  readonly verdicts: readonly ProviderVerdict[];
  /** Providers that would take it, had they room. */
  readonly full: readonly string[];
  /** Whether waiting may help: a provider is full, or pauses after a failed start. */
  readonly canPass: boolean;
}

/** Judges every provider for a class: who may ever run it, who can now, and in which order. */
export function judgeClass(classKey: string, context: VerdictContext): ClassVerdict {
  const workerClass = parseClassKey(classKey);
  const refusals = new Map<string, string>();
  const full: string[] = [];
  const candidates: Candidate[] = [];
  context.providers.forEach((provider, position) => {
    const workers = context.workersOf(provider.name);
    const refusal = refusalOf(provider, { classKey, workerClass, now: context.now });
    if (refusal !== undefined) refusals.set(provider.name, refusal);
    else if (workers >= provider.maxWorkers) {
      full.push(provider.name);
      refusals.set(provider.name, `${workers} of ${provider.maxWorkers} workers in use`);
    } else candidates.push(candidateOf(provider, { position, workers, workerClass }));
  });

  const { resources } = workerClass;
  const ranked = preferredFirst(
    context.strategy(candidates, { resources, labels: {}, turn: context.turn }),
    { context, workerClass },
  );
  const verdicts = context.providers.map((provider): ProviderVerdict => {
    const { name, type } = provider;
    const rank = ranked.findIndex((entry) => entry.name === name);
    const entry = ranked[rank];
    if (entry === undefined) {
      const reason = refusals.get(name) ?? "left out by the strategy";
      return { provider: name, type, isEligible: false, reason, rank: 0, score: 0 };
    }
    const { reason, score } = entry;
    return { provider: name, type, isEligible: true, reason, rank: rank + 1, score };
  });
  const canPass =
    full.length > 0 ||
    context.providers.some((provider) => isPaused(provider, classKey, context.now));
  return { ranked: ranked.map((entry) => entry.name), verdicts, full, canPass };
}

/** Whether a provider is the one that the class asks for, by its name or its type. */
export function isPreferred(
  provider: Pick<ProviderView, "name" | "type">,
  workerClass: WorkerClass,
): boolean {
  const wish = workerClass.preferredProvider;
  return wish !== "" && (provider.name === wish || provider.type === wish);
}

function refusalOf(
  provider: ProviderView,
  wish: { readonly classKey: string; readonly workerClass: WorkerClass; readonly now: number },
): string | undefined {
  const { workerClass } = wish;
  if (workerClass.isProviderStrict && !isPreferred(provider, workerClass)) {
    return `the job insists on ${workerClass.preferredProvider}`;
  }
  const refusal = provider.refusalOf(workerClass);
  if (refusal !== undefined) return refusal;
  if (provider.health === "unhealthy") return `unhealthy: ${provider.healthReason}`;
  if (isPaused(provider, wish.classKey, wish.now)) {
    return `pauses after a failed start: ${provider.pauses.get(wish.classKey)?.reason ?? ""}`;
  }
  return undefined;
}

function isPaused(provider: ProviderView, classKey: string, now: number): boolean {
  return (provider.pauses.get(classKey)?.until ?? 0) > now;
}

function candidateOf(
  provider: ProviderView,
  at: {
    readonly position: number;
    readonly workers: number;
    readonly workerClass: WorkerClass;
  },
): Candidate {
  return {
    name: provider.name,
    type: provider.type,
    position: at.position,
    healthScore: provider.healthScore,
    workers: at.workers,
    maxWorkers: provider.maxWorkers,
    pricePerHour: provider.pricePerHour(at.workerClass.resources),
    startEstimateMs: provider.startEstimateMs,
    labels: provider.labels,
  };
}

function preferredFirst(
  ranked: readonly Ranked[],
  wish: { readonly context: VerdictContext; readonly workerClass: WorkerClass },
): readonly Ranked[] {
  const preferred = new Set(
    wish.context.providers
      .filter((provider) => isPreferred(provider, wish.workerClass))
      .map((provider) => provider.name),
  );
  if (preferred.size === 0) return ranked;
  return [
    ...ranked
      .filter((entry) => preferred.has(entry.name))
      .map((entry) => ({ ...entry, reason: "preferred by the job" })),
    ...ranked.filter((entry) => !preferred.has(entry.name)),
  ];
}
