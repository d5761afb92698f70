import { HodeiError } from "#error.ts";
import type { Provider } from "#provider/provider.ts";
import type { WorkerClass } from "#worker/class.ts";
import type { Worker } from "#worker/worker.ts";
import type { ProviderView } from "./place-verdicts.ts";
import {
  askHealth,
  changeCircuit,
  type Keeping,
  showGauges,
  tellChange,
} from "./providers-changes.ts";
import { type Known, newlyKnown, statusOf, viewOf } from "./providers-known.ts";
import type { Remembered } from "./providers-remembered.ts";
import { dropPauses, learnStarts, type StartLessons } from "./providers-starts.ts";
import { defaultSettings, type ProviderSettings, type ProviderStatus } from "./scheduler.ts";

/** The providers with what is said of them and what this server has learned of them. */
export interface Providers extends StartLessons {
  /** In the order in which they came. */
  list(): readonly Provider[];
  find(name: string): Provider | undefined;
  /** Error: `already_exists`. */
  add(provider: Provider, settings: ProviderSettings): void;
  /** Error: `not_found`. */
  settingsOf(name: string): ProviderSettings;
  /** Error: `not_found`. */
  change(name: string, settings: ProviderSettings): void;
  remove(name: string): void;
  /** What is worth knowing after a restart, of those that were asked how they are. */
  remembered(): ReadonlyMap<string, Remembered>;
  /** Puts what a server knew of it at that time in the place of what this one knows. A name that is not known says nothing. */
  recall(name: string, remembered: Remembered, at: number): void;
  /** Asks every provider, or that one, how it is; one that fails to answer is unhealthy. */
  refresh(name?: string): Promise<void>;
  /** Higher priorities first, then in the order in which they came. */
  view(): readonly ProviderView[];
  status(workers: readonly Worker[]): readonly ProviderStatus[];
  /** From planning to redeeming. */
  startDeadlineMs(name: string, workerClass: WorkerClass): number;
}

export interface ProvidersOptions extends Keeping {
  readonly providers: readonly Provider[];
  /** By name. */
  readonly settings?: ReadonlyMap<string, ProviderSettings> | undefined;
}

export function createProviders(options: ProvidersOptions): Providers {
  const { limits, now } = options;
  const known = new Map<string, Known>();
  const get = (name: string): Known => {
    const entry = known.get(name);
    if (entry === undefined) throw new HodeiError("not_found", `there is no provider ${name}`);
    return entry;
  };
  const add = (provider: Provider, settings: ProviderSettings): void => {
    const { name } = provider;
    if (known.has(name)) throw new HodeiError("already_exists", `there is a provider ${name}`);
    const entry = newlyKnown(provider, settings, now());
    known.set(name, entry);
    showGauges(options, entry);
  };
  for (const provider of options.providers) {
    add(provider, options.settings?.get(provider.name) ?? defaultSettings);
  }

  return {
    list: () => [...known.values()].map(({ provider }) => provider),
    find: (name) => known.get(name)?.provider,
    add,
    settingsOf: (name) => get(name).settings,
    change(name, settings) {
      const entry = get(name);
      const [from, to] = [enabledWord(entry.settings), enabledWord(settings)];
      entry.settings = settings;
      tellChange(options, entry, {
        kind: "enabled",
        from,
        to,
        reason: "its settings were changed",
      });
    },
    remove(name) {
      known.delete(name);
      options.metrics?.providerGone(name);
    },
    remembered: () => new Map([...known].filter(([, { isAsked }]) => isAsked)),
    recall(name, remembered, at) {
      const entry = known.get(name);
      if (entry === undefined) return;
      Object.assign(entry, remembered, { isAsked: true, timedUntil: at });
      showGauges(options, entry);
    },
    async refresh(name) {
      const entries = name === undefined ? [...known.values()] : [get(name)];
      await Promise.all(entries.map((entry) => askHealth(options, entry)));
    },
    view() {
      const entries = [...known.values()];
      for (const entry of entries) {
        changeCircuit(options, entry, { kind: "none" });
        dropPauses(options, entry);
      }
      return entries
        .toSorted((one, other) => other.settings.priority - one.settings.priority)
        .map((entry) => viewOf(entry, now()));
    },
    status: (workers) => [...known.values()].map((entry) => statusOf(entry, workers, now())),
    startDeadlineMs(name, workerClass) {
      const standard =
        workerClass.resources.gpuCount > 0 ? limits.gpuStartDeadlineMs : limits.startDeadlineMs;
      return known.get(name)?.settings.startDeadlineMs ?? standard;
    },
    ...learnStarts(options, known),
  };
}

function enabledWord({ isEnabled }: ProviderSettings): string {
  return isEnabled ? "enabled" : "disabled";
}
