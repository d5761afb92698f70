import { HodeiError } from "#error.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Loops, Rounds } from "./start-loops.ts";
import type { Parts } from "./start-parts.ts";

/** Providers that come and go while the loops run. */
export function manageProviders(
  { providers, store }: Parts,
  { provision }: Pick<Rounds, "provision">,
  loops: Loops,
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
      loops.watches.start(provider);
      await providers.refresh(provider.name);
      loops.wakeProvision();
    },
    changeProvider(name, settings) {
      providers.change(name, settings);
      loops.wakeProvision();
    },
    async removeProvider(name) {
      const settings = providers.settingsOf(name);
      await checkEmpty(name);
      providers.change(name, { ...settings, isEnabled: false });
      try {
        // A round that began before may still plan a worker there.
        await provision.finishRound();
        await checkEmpty(name);
      } catch (error) {
        providers.change(name, settings);
        throw error;
      }
      await loops.watches.stop(name);
      providers.remove(name);
    },
  };
}
