import { HodeiError } from "#error.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Duties } from "./start-loops.ts";
import type { Parts } from "./start-parts.ts";

/** Providers that come and go while the loops run. */
export function manageProviders(
  { providers, store }: Parts,
  duties: Duties,
): Pick<Scheduler, "listProviders" | "addProvider" | "changeProvider" | "removeProvider"> {
  const checkEmpty = async (name: string): Promise<void> => {
    const live = (await store.listLiveWorkers()).filter((worker) => worker.provider === name);
    if (live.length === 0) return;
    const text = `provider ${name} still has ${live.length} workers`;
    throw new HodeiError("failed_precondition", text);
  };
  return {
    listProviders: async () => providers.status(await store.listLiveWorkers()),
    async addProvider(provider, settings) {
      providers.add(provider, settings);
      duties.watches.start(provider);
      await providers.refresh(provider.name);
      duties.wakeProvision();
    },
    changeProvider(name, settings) {
      providers.change(name, settings);
      duties.wakeProvision();
    },
    async removeProvider(name) {
      const settings = providers.settingsOf(name);
      await checkEmpty(name);
      providers.change(name, { ...settings, isEnabled: false });
      try {
        // A round that began before may still plan a worker there.
        await duties.finishRound();
        await checkEmpty(name);
      } catch (error) {
        providers.change(name, settings);
        throw error;
      }
      await duties.watches.stop(name);
      providers.remove(name);
    },
  };
}
