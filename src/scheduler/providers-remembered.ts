import { z } from "zod";
import type { Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import type { ProviderState } from "#worker/provider-record.ts";
import type { Known } from "./providers-known.ts";
import type { Providers } from "./providers.ts";

/** What of a provider outlives the server that has come to know it. */
export type Remembered = Pick<Known, "circuit" | "learned" | "health">;

/** Keeps in the store what is known of providers. */
export interface Memory {
  /** Takes over what was saved by whichever server: at the start, and in each round of one that does not ask the providers itself. */
  recall(): Promise<void>;
  /** Saves what has changed since the last time, if anything. */
  save(): Promise<void>;
}

/** A failure in a row that is older than this is none any more. */
const failuresLastMs = 600_000;
/** Answers to health checks come all the time and say little: they alone are saved this seldom. */
const checksEveryMs = 60_000;

export interface MemoryOptions {
  readonly store: Pick<Store, "saveProviderStates" | "listProviderStates">;
  readonly providers: Pick<Providers, "remembered" | "recall">;
  readonly log: Logger;
  readonly now: () => number;
}

export function createMemory({ store, providers, log, now }: MemoryOptions): Memory {
  const saved = new Map<string, { readonly marks: string; readonly at: number }>();
  return {
    async recall() {
      for (const { provider, at, data } of await store.listProviderStates()) {
        const remembered = decodeState(data, { at, now: now() });
        if (remembered === undefined)
          log.warn({ provider }, "a provider's state is not understood");
        else providers.recall(provider, remembered, at);
      }
    },
    async save() {
      const at = now();
      const changed = new Map<string, ProviderState & { readonly marks: string }>();
      for (const [provider, remembered] of providers.remembered()) {
        const marks = marksOf(remembered);
        const before = saved.get(provider);
        const isDue = before === undefined || Math.abs(at - before.at) >= checksEveryMs;
        if (!isDue && before.marks === marks) continue;
        changed.set(provider, { provider, at, data: encodeState(remembered), marks });
      }
      if (changed.size === 0) return;
      await store.saveProviderStates([...changed.values()].map(({ marks: _, ...state }) => state));
      for (const [provider, { marks }] of changed) saved.set(provider, { marks, at });
    },
  };
}

/** All but the answers to health checks. */
function marksOf({ circuit, learned, health }: Remembered): string {
  const { checks: _, ...rest } = learned;
  return JSON.stringify([circuit, rest, health]);
}

const tally = z.object({ good: z.number(), bad: z.number(), at: z.number() });
const shape = z.object({
  /** One that is not known is not understood, and the provider is learned anew. */
  format: z.literal(1),
  circuit: z.object({
    state: z.enum(["closed", "half_open", "open"]),
    since: z.number(),
    reason: z.string(),
    failures: z.number(),
    isForHealth: z.boolean(),
    successes: z.number(),
    openings: z.number(),
    until: z.number().optional(),
  }),
  learned: z.object({
    startMs: z.number(),
    /** Null: no start was seen. */
    startAt: z.number().nullable(),
    starts: tally,
    checks: tally,
  }),
  health: z.object({ state: z.enum(["healthy", "degraded", "unhealthy"]), reason: z.string() }),
});

/** As text that `decodeState` understands. */
export function encodeState({ circuit, learned, health }: Remembered): string {
  const { startAt } = learned;
  const said = { ...learned, startAt: Number.isFinite(startAt) ? startAt : null };
  return JSON.stringify({ format: 1, circuit, learned: said, health });
}

/** What was known at `at`, as it counts now; undefined when it is of another format. What was learned fades by itself. */
export function decodeState(
  data: string,
  { at, now }: { readonly at: number; readonly now: number },
): Remembered | undefined {
  const parsed = shape.safeParse(jsonOf(data));
  if (!parsed.success) return undefined;
  const { circuit, learned, health } = parsed.data;
  const isLongAgo = now - at > failuresLastMs;
  return {
    circuit: { ...circuit, until: circuit.until, failures: isLongAgo ? 0 : circuit.failures },
    learned: { ...learned, startAt: learned.startAt ?? -Infinity },
    health,
  };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
