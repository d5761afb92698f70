import { HodeiError } from "#error.ts";
import type { ProviderServiceService } from "#rpc/gen/hodei/v1/provider_service.ts";
import type { Handlers } from "#rpc/serve.ts";
import type { Scheduler } from "#scheduler/scheduler.ts";
import type { Caller } from "./authenticate.ts";
import { providerToWire } from "./convert.ts";

/** Shows what can start workers. */
export function providerService(
  scheduler: Pick<Scheduler, "listProviders">,
): Handlers<typeof ProviderServiceService, Caller> {
  return {
    async listProviders() {
      const providers = await scheduler.listProviders();
      const byName = providers.toSorted((a, b) => (a.name < b.name ? -1 : 1));
      return { providers: byName.map(providerToWire) };
    },

    async getProvider({ name }) {
      const found = (await scheduler.listProviders()).find((provider) => provider.name === name);
      if (found === undefined) {
        throw new HodeiError("not_found", `there is no provider ${name.slice(0, 64)}`);
      }
      return { provider: providerToWire(found) };
    },
  };
}
