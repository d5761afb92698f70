/** The parts of a start, in their order: until a node is found, until its images are there, until its container runs, until the agent dials back. */
export const startPhases = ["schedule", "pull", "init", "connect"] as const;
export type StartPhase = (typeof startPhases)[number];

/** What starts have taken so far. */
export interface Latency {
  /** One start's part; `key` is what starts have in common, such as their image. */
  observe(key: string, phase: StartPhase, ms: number): void;
  /** How long a start is expected to take: of that key, or of any where it was never seen. */
  estimateMs(key?: string): number;
  /** The parts of that estimate, as far as they were seen. */
  phasesOf(key?: string): Readonly<Partial<Record<StartPhase, number>>>;
}

export interface LatencyOptions {
  /** What a start is held to take before any was seen. */
  readonly priorMs?: number;
  /** How many kinds of starts are told apart. */
  readonly maxKeys?: number;
  /** Each part of each start, for a histogram. */
  readonly observe?: (phase: StartPhase, ms: number) => void;
}

/** How much of the mean one more start moves. */
const weight = 0.2;
/** The prior counts as so many starts. */
const priorStarts = 2;

interface Means {
  readonly phases: Partial<Record<StartPhase, number>>;
  /** Complete starts: those whose agent connected. */
  starts: number;
}

/** Means that forget: a start counts for less with each later one. */
export function createLatency(options: LatencyOptions = {}): Latency {
  const { priorMs = 15_000, maxKeys = 200 } = options;
  const all: Means = { phases: {}, starts: 0 };
  const byKey = new Map<string, Means>();
  const meansOf = (key: string): Means => {
    const means = byKey.get(key) ?? { phases: {}, starts: 0 };
    // Re-inserted, so that the first one is always the one that was longest without a start.
    byKey.delete(key);
    byKey.set(key, means);
    const [oldest] = byKey.keys();
    if (byKey.size > maxKeys && oldest !== undefined) byKey.delete(oldest);
    return means;
  };
  const find = (key: string | undefined): Means => {
    const own = key === undefined ? undefined : byKey.get(key);
    return own !== undefined && own.starts > 0 ? own : all;
  };
  return {
    observe(key, phase, ms) {
      if (!Number.isFinite(ms) || ms < 0) return;
      options.observe?.(phase, ms);
      for (const means of [all, meansOf(key)]) {
        const before = means.phases[phase];
        means.phases[phase] = before === undefined ? ms : before + (ms - before) * weight;
        if (phase === "connect") means.starts += 1;
      }
    },
    estimateMs(key) {
      const { phases, starts } = find(key);
      if (starts === 0) return priorMs;
      const seen = startPhases.reduce((sum, phase) => sum + (phases[phase] ?? 0), 0);
      const trust = starts / (starts + priorStarts);
      return Math.round(seen * trust + priorMs * (1 - trust));
    },
    phasesOf: (key) => ({ ...find(key).phases }),
  };
}
