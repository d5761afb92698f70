import type { Resources } from "#job/job.ts";
import { parseClassKey, type WorkerClass } from "#worker/class.ts";
import { typeAliases } from "#worker/provider-record.ts";
import type { Circuit } from "./circuit.ts";
import type { ProviderVerdict } from "./scheduler.ts";
import type { Strategies } from "./strategies.ts";
import type { Candidate, Ranked, Strategy, StrategyContext } from "./strategy.ts";

/** What is known of a provider when a round begins. Its functions are pure. */
export interface ProviderView {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  /** Whether the operator lets it have new workers. */
  readonly isEnabled: boolean;
  readonly health: "healthy" | "degraded" | "unhealthy";
  readonly healthReason: string;
  readonly healthScore: number;
  readonly maxWorkers: number;
  /** How many it holds if all are of that class. */
  maxWorkersOf(workerClass: WorkerClass): number;
  readonly startEstimateMs: number;
  /** Whether its workers belong to one tenant from the start. */
  readonly bindsTenant: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** Empty: not said. */
  readonly region: string;
  /** Empty: any. */
  readonly architectures: readonly string[];
  /** What its workers can run. */
  readonly runtimes: readonly string[];
  /** The longest time that a job may run here; 0: no bound. */
  readonly maxHours: number;
  /** Classes whose last start failed here, with the time until which nothing is tried. */
  readonly pauses: ReadonlyMap<string, Pause>;
  readonly circuit: Pick<Circuit, "state" | "since" | "reason">;
  refusalOf(workerClass: WorkerClass): string | undefined;
  pricePerHour(resources: Resources): number;
}

export interface Pause {
  readonly until: number;
  readonly reason: string;
  /** Whether the image of the class could not be had there. */
  readonly isForImage: boolean;
}

export interface VerdictContext {
  readonly providers: readonly ProviderView[];
  readonly strategies: Strategies;
  /** Whose jobs these are; undefined: nobody's yet. */
  readonly tenant: string | undefined;
  readonly turn: number;
  readonly now: number;
  /** Live workers of a provider, those that are being ended included. */
  workersOf(provider: string): number;
  /** Those planned since its circuit was half open that have not shown yet whether it works. */
  probesOf(provider: string): number;
}

export interface ClassVerdict {
  /** Best first: the providers that can take a worker of the class now. */
  readonly ranked: readonly string[];
  readonly verdicts: readonly ProviderVerdict[];
  /** Providers that would take it, had they room. */
  readonly full: readonly string[];
  /** Providers that pause after failed starts, and would take it otherwise. */
  readonly passing: readonly string[];
  /** Whether waiting may help: a provider is full, or pauses after failed starts. */
  readonly canPass: boolean;
}

/** What stays true of a class while only the room of the providers changes. */
export interface ClassView {
  readonly workerClass: WorkerClass;
  readonly entries: readonly ClassEntry[];
  /** Providers that the job names, and those in the region that it prefers. */
  readonly named: ReadonlySet<string>;
  readonly near: ReadonlySet<string>;
}

interface ClassEntry {
  readonly provider: ProviderView;
  readonly position: number;
  readonly refusal: Refusal | undefined;
  readonly maxWorkers: number;
  readonly pricePerHour: number;
}

/** Judges every provider for a class: who may ever run it, who can now, and in which order. */
export function judgeClass(classKey: string, context: VerdictContext): ClassVerdict {
  return judgeView(viewClass(classKey, context), context);
}

export function viewClass(
  classKey: string,
  { providers, now }: Pick<VerdictContext, "providers" | "now">,
): ClassView {
  const workerClass = parseClassKey(classKey);
  const region = workerClass.provider.preferredRegion;
  const namesOf = (fits: (provider: ProviderView) => boolean): ReadonlySet<string> =>
    new Set(providers.filter(fits).map(({ name }) => name));
  return {
    workerClass,
    entries: providers.map((provider, position) => ({
      provider,
      position,
      refusal: refusalOf(provider, { classKey, workerClass, now }),
      maxWorkers: provider.maxWorkersOf(workerClass),
      pricePerHour: provider.pricePerHour(workerClass.resources),
    })),
    named: namesOf((provider) => isPreferred(provider, workerClass)),
    near: namesOf((provider) => region !== "" && provider.region === region),
  };
}

export function judgeView(view: ClassView, context: VerdictContext): ClassVerdict {
  const { workerClass, entries } = view;
  const refusals = new Map<string, string>();
  const full: string[] = [];
  const passing: string[] = [];
  const candidates = new Map<string, Candidate>();
  for (const entry of entries) {
    const { provider, maxWorkers } = entry;
    const { name } = provider;
    const workers = context.workersOf(name);
    const refusal = entry.refusal ?? probing(provider, context);
    if (refusal !== undefined) {
      refusals.set(name, refusal.reason);
      if (refusal.canPass) passing.push(name);
    } else if (workers >= maxWorkers) {
      full.push(name);
      refusals.set(name, `${workers} of ${maxWorkers} workers in use`);
    } else candidates.set(name, candidateOf(entry, workers));
  }

  const { strategy: wish, preferredLabels: labels } = workerClass.provider;
  const strategy = context.strategies.choose(wish, context.tenant);
  const { resources } = workerClass;
  const given = rank(strategy, candidates, { resources, labels, turn: context.turn });
  const near = pulled(given.ranked, view.near, `in ${workerClass.provider.preferredRegion}`);
  const ranked = pulled(near, view.named, "preferred by the job");
  let verdicts: readonly ProviderVerdict[] | undefined;
  return {
    ranked: ranked.map(({ name }) => name),
    // Most decisions need no more than the best, and putting the rest into words takes longer than to decide.
    get verdicts() {
      return (verdicts ??= verdictsOf(view, ranked, (name) => refusals.get(name) ?? given.leftOut));
    },
    full,
    passing,
    canPass: full.length > 0 || passing.length > 0,
  };
}

/** A strategy of the operator's own may fail, or name what is no candidate: neither may hold up the jobs of others. */
function rank(
  strategy: Strategy,
  candidates: ReadonlyMap<string, Candidate>,
  context: StrategyContext,
): { readonly ranked: readonly Ranked[]; readonly leftOut: string } {
  try {
    const given = strategy([...candidates.values()], context);
    const ranked = new Map(
      given.filter(({ name }) => candidates.has(name)).map((entry) => [entry.name, entry]),
    );
    return { ranked: [...ranked.values()], leftOut: "left out by the strategy" };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { ranked: [], leftOut: `the strategy failed: ${why}` };
  }
}

function verdictsOf(
  { entries }: ClassView,
  ranked: readonly Ranked[],
  refusalOf: (name: string) => string,
): readonly ProviderVerdict[] {
  return entries.map(({ provider, pricePerHour }): ProviderVerdict => {
    const { name, type, startEstimateMs, circuit } = provider;
    const at = ranked.findIndex((entry) => entry.name === name);
    const entry = ranked[at];
    return {
      provider: name,
      type,
      isEligible: entry !== undefined,
      reason: entry === undefined ? refusalOf(name) : entry.reason || partsInWords(entry.parts),
      rank: at + 1,
      score: entry?.score ?? 0,
      parts: entry?.parts ?? {},
      pricePerHour,
      startEstimateMs,
      circuit: circuit.state,
    };
  });
}

function partsInWords(parts: Ranked["parts"] = {}): string {
  const round = (value: number) => Math.round(value * 1_000) / 1_000;
  return Object.entries(parts)
    .map(([name, part]) => `${name} ${round(part)}`)
    .join(", ");
}

/** Whether a provider is the one that the class asks for, by its name, its id, its type, or another word for its type. */
export function isPreferred(
  provider: Pick<ProviderView, "id" | "name" | "type">,
  workerClass: WorkerClass,
): boolean {
  const wish = workerClass.provider.name;
  if (wish === "") return false;
  if (provider.name === wish || provider.id === wish) return true;
  const word = wish.toLowerCase();
  return provider.type === (typeAliases[word] ?? word);
}

interface Refusal {
  readonly reason: string;
  /** Whether time alone can change it. */
  readonly canPass: boolean;
}

function refusalOf(
  provider: ProviderView,
  wish: { readonly classKey: string; readonly workerClass: WorkerClass; readonly now: number },
): Refusal | undefined {
  const { classKey, workerClass, now } = wish;
  const reason = lastingRefusal(provider, workerClass);
  if (reason !== undefined) return { reason, canPass: false };
  if (provider.circuit.state === "open") {
    return { reason: `is given nothing for now: ${provider.circuit.reason}`, canPass: true };
  }
  const pause = provider.pauses.get(classKey);
  if (pause === undefined || pause.until <= now) return undefined;
  return { reason: `pauses after a failed start: ${pause.reason}`, canPass: true };
}

function probing(
  { name, circuit }: ProviderView,
  { probesOf }: Pick<VerdictContext, "probesOf">,
): Refusal | undefined {
  if (circuit.state !== "half_open" || probesOf(name) === 0) return undefined;
  return { reason: "one start shows whether it works again", canPass: true };
}

function lastingRefusal(provider: ProviderView, workerClass: WorkerClass): string | undefined {
  if (workerClass.provider.isStrict && !isPreferred(provider, workerClass)) {
    return `the job insists on ${workerClass.provider.name}`;
  }
  if (!provider.isEnabled) return "is disabled";
  const refusal = unsuited(provider, workerClass) ?? provider.refusalOf(workerClass);
  if (refusal !== undefined) return refusal;
  return provider.health === "unhealthy" ? `unhealthy: ${provider.healthReason}` : undefined;
}

/** What the job asks of a provider and this one is not. */
function unsuited(provider: ProviderView, workerClass: WorkerClass): string | undefined {
  const { requiredLabels, allowedRegions, architecture, runtimes } = workerClass.provider;
  for (const [key, value] of Object.entries(requiredLabels)) {
    const own = provider.labels[key];
    if (own === undefined) return `lacks the label ${key}=${value}`;
    if (own !== value) return `its label ${key} is ${own}, not ${value}`;
  }
  if (allowedRegions.length > 0 && !allowedRegions.includes(provider.region)) {
    return `its region ${provider.region || "(none)"} is not one of ${allowedRegions.join(", ")}`;
  }
  const { architectures, maxHours } = provider;
  if (architecture !== "" && architectures.length > 0 && !architectures.includes(architecture)) {
    return `has no ${architecture}`;
  }
  const missing = runtimes.filter((runtime) => !provider.runtimes.includes(runtime));
  if (missing.length > 0) return lacking(missing, provider.runtimes);
  const { longestHours } = workerClass;
  if (maxHours > 0 && (longestHours === 0 || longestHours > maxHours)) {
    return `lets jobs run for ${maxHours} h at most`;
  }
  return undefined;
}

function lacking(missing: readonly string[], own: readonly string[]): string {
  const word = missing.length === 1 ? "runtime" : "runtimes";
  const has = own.length === 0 ? "it names no runtimes" : `it has ${own.join(", ")}`;
  return `lacks the ${word} ${missing.join(" and ")}; ${has}`;
}

function candidateOf(entry: ClassEntry, workers: number): Candidate {
  const { provider, position, maxWorkers, pricePerHour } = entry;
  const { name, type, healthScore, startEstimateMs, labels } = provider;
  return {
    name,
    type,
    position,
    healthScore,
    workers,
    maxWorkers,
    pricePerHour,
    startEstimateMs,
    labels,
  };
}

/** What the job prefers comes before the strategy's order. */
function pulled(
  ranked: readonly Ranked[],
  first: ReadonlySet<string>,
  reason: string,
): readonly Ranked[] {
  if (first.size === 0) return ranked;
  return [
    ...ranked
      .filter(({ name }) => first.has(name))
      .map(({ name, score, parts = {} }) => ({ name, score, parts, reason })),
    ...ranked.filter(({ name }) => !first.has(name)),
  ];
}
