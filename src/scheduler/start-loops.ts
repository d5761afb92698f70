import { setTimeout as wait } from "node:timers/promises";
import { createSequence, numberOf, type WorkerId } from "#job/id.ts";
import { every, type Loop } from "#every.ts";
import { workerStates } from "#worker/worker.ts";
import { judgeNow } from "./explain.ts";
import { createProvision, type Provision } from "./provision.ts";
import { createMemory } from "./providers-remembered.ts";
import { createReap, type Reap } from "./reap.ts";
import { createWorkerEnds } from "./reap-end.ts";
import { type EventOptions, type ProviderWatches, watchProviders } from "./reap-events.ts";
import type { SchedulerOptions } from "./start-options.ts";
import type { Parts } from "./start-parts.ts";
import type { Strategies } from "./strategies.ts";
import { createSweep, type Sweep } from "./sweep.ts";
import { createClockGuard } from "./sweep-clock.ts";

export type LoopOptions = Pick<SchedulerOptions, "warm" | "serverAddress"> & {
  readonly serverCa?: SchedulerOptions["serverCa"] | undefined;
  readonly strategies: Strategies;
  readonly weightOf: (tenant: string) => number;
};

/** What the loops do, each round as a function. */
export interface Rounds extends AsyncDisposable {
  readonly provision: Provision;
  readonly reap: Reap;
  readonly sweep: Sweep;
  readonly events: EventOptions;
  /** Set by whoever runs the rounds. */
  onRoom: () => void;
  onChange: () => void;
}

export async function createRounds(parts: Parts, options: LoopOptions): Promise<Rounds> {
  const rounds = { onRoom: () => undefined as void, onChange: () => undefined as void };
  const changed = (): void => rounds.onChange();
  const ends = createWorkerEnds(parts, () => rounds.onRoom());
  const provision = createProvision(parts, {
    ...options,
    ends,
    serverCa: options.serverCa,
    nextNumber: createSequence(await lastWorkerNumber(parts)),
    changed: () => {
      rounds.onRoom();
      rounds.onChange();
    },
  });
  const clock = { now: parts.now, monotonic: parts.monotonic };
  const reap = createReap(parts, {
    ends,
    clock: createClockGuard(clock),
    isStarting: (id: WorkerId) => provision.isStarting(id),
    changed,
  });
  const sweep = createSweep(parts, {
    ends,
    clock: createClockGuard(clock),
    judge: async (classKey) => {
      const workers = await parts.store.listLiveWorkers();
      const { strategies } = options;
      return judgeNow(parts, { strategies, workers, classKey, tenant: undefined }).verdicts;
    },
    changed,
  });
  return Object.assign(rounds, {
    provision,
    reap,
    sweep,
    events: { ends, changed },
    async [Symbol.asyncDispose]() {
      await provision[Symbol.asyncDispose]();
      await reap[Symbol.asyncDispose]();
    },
  });
}

/** What one server does for all of its store: starts and ends workers, sweeps, expires. */
export interface Duties extends AsyncDisposable {
  wakeProvision(): void;
  wakeReap(): void;
  readonly watches: Pick<ProviderWatches, "start" | "stop">;
  /** Resolves when no decision about new workers is under way. */
  finishRound(): Promise<void>;
}

/** Runs the rounds until disposed. */
export async function startDuties(parts: Parts, options: LoopOptions): Promise<Duties> {
  await using stack = new AsyncDisposableStack(); // Undoes a start that fails halfway.
  const { limits, log, providers } = parts;
  const memory = createMemory(parts);
  await memory.recall();
  await providers.refresh();
  // What the rounds learn last is not lost.
  stack.defer(() => memory.save().catch((err: unknown) => log.warn({ err }, notSaved)));
  const rounds = stack.use(await createRounds(parts, options));
  await rounds.reap.repair();
  const retryMs = limits.reapIntervalMs;
  const watches = stack.use(watchProviders(parts, { ...rounds.events, retryMs }));
  for (const provider of providers.list()) watches.start(provider);

  const loop = (name: string, intervalMs: number, step: Parameters<typeof every>[1]): Loop =>
    stack.use(
      every({ intervalMs, onError: (err) => log.error({ err, loop: name }, "round failed") }, step),
    );
  const { provision, reap, sweep } = rounds;
  const provisioning = loop("provision", limits.provisionIntervalMs, async (signal) => {
    await provision.round();
    // The pause ends early by an abort; that is not an error.
    await wait(limits.provisionGapMs, undefined, { signal }).catch(() => undefined);
  });
  const reaping = loop("reap", limits.reapIntervalMs, () => reap.round());
  loop("list", limits.listIntervalMs, () => reap.listRound());
  loop("sweep", limits.sweepIntervalMs, async (signal) => {
    // A round that moved all that it looked at has more before it.
    while ((await sweep.round()) >= limits.sweepBatch && !signal.aborted);
  });
  loop("memory", limits.rememberIntervalMs, () => memory.save());
  loop("expire", limits.expireIntervalMs, () => sweep.expireRecords());
  loop("expire logs", limits.logExpireIntervalMs, () => sweep.expireLogs());
  rounds.onRoom = () => provisioning.wake();
  rounds.onChange = () => reaping.wake();

  const owned = stack.move();
  return {
    watches,
    wakeProvision: () => provisioning.wake(),
    wakeReap: () => reaping.wake(),
    finishRound: () => provision.finishRound(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const notSaved = "what was learned of the providers was not saved";

/** Ids go on growing behind those of the last server, also when the clock was set back. */
async function lastWorkerNumber(parts: Parts): Promise<number> {
  const page = await parts.store.listWorkers({
    states: workerStates,
    provider: undefined,
    tenant: undefined,
    pageSize: 1,
    pageToken: undefined,
  });
  const newest = page.rows[0];
  return newest === undefined ? 0 : numberOf(newest.id);
}
