import { invalid } from "#error.ts";
import type { ProviderServiceService } from "#rpc/gen/hodei/v1/provider_service.ts";
import type { Handlers } from "#rpc/serve.ts";
import type { ProviderStore } from "#store/store.ts";
import type { Audit } from "./audit.ts";
import type { Caller } from "./authenticate.ts";
import {
  changeFromWire,
  configFromWire,
  credentialsFrom,
  eventToWire,
  healths,
  providerToWire,
  termsFromWire,
} from "./provider-convert.ts";
import type { ProviderEntry, ProviderRegistry } from "./provider-registry.ts";
import { checkText, pageSizeOf, pageTokenOf, specLimits } from "./validate.ts";

export interface ProviderServiceOptions {
  readonly registry: ProviderRegistry;
  readonly store: Pick<ProviderStore, "listProviderEvents">;
  readonly audit: Audit;
}

/** Manages what can start workers. */
export function providerService(
  options: ProviderServiceOptions,
): Handlers<typeof ProviderServiceService, Caller> {
  const { registry, store, audit } = options;
  const show = (entry: ProviderEntry) => ({ provider: providerToWire(entry) });
  return {
    async listProviders({ type, health, enabled, onlyWithCapacity }) {
      const wanted = healths[health - 1];
      if (health !== 0 && wanted === undefined) throw invalid("health", "is unknown");
      const entries = (await registry.list()).filter(
        (entry) =>
          (type === "" || entry.record.type === type) &&
          (wanted === undefined || entry.status.health === wanted) &&
          (enabled === undefined || entry.status.isEnabled === enabled) &&
          (!onlyWithCapacity || hasCapacity(entry)),
      );
      return { providers: entries.map(providerToWire) };
    },

    getProvider: async ({ name }) => show(await registry.get(name)),

    registerProvider: async (request, call) =>
      audit.around(call, request.name, async () => {
        const { name, type, config, credentials, terms, disabled } = request;
        const given = {
          name,
          type,
          config: configFromWire(config),
          credentials: credentialsFrom(credentials),
          terms: { ...termsFromWire(terms), isEnabled: !disabled },
        };
        const entry = await registry.register(given, call.caller.subject);
        call.log.info({ provider: name, type }, "provider registered");
        return show(entry);
      }),

    updateProvider: async (request, call) =>
      audit.around(call, request.name, async () => {
        const change = changeFromWire(request);
        return show(await registry.update(request.name, change, call.caller.subject));
      }),

    enableProvider: async ({ name }, call) =>
      audit.around(call, name, async () =>
        show(await registry.enable(name, { isEnabled: true, reason: "" }, call.caller.subject)),
      ),

    disableProvider: async ({ name, reason }, call) =>
      audit.around(call, name, async () => {
        checkText("reason", reason, specLimits.reasonCharacters);
        return show(await registry.enable(name, { isEnabled: false, reason }, call.caller.subject));
      }),

    deleteProvider: async ({ name }, call) =>
      audit.around(call, name, async () => {
        await registry.remove(name);
        call.log.info({ provider: name }, "provider removed");
        return {};
      }),

    getProviderStats: async () => statsOf(await registry.list()),

    async listProviderEvents({ name, pageSize, pageToken }) {
      const { record } = await registry.get(name);
      const page = await store.listProviderEvents({
        provider: record.name,
        pageSize: pageSizeOf(pageSize),
        pageToken: pageTokenOf(pageToken),
      });
      return { events: page.rows.map(eventToWire), nextPageToken: page.nextPageToken ?? "" };
    },
  };
}

/** Whether it could be given a worker now. */
function hasCapacity({ status }: ProviderEntry): boolean {
  const { isEnabled, health, circuit, workers, maxWorkers } = status;
  return isEnabled && health !== "unhealthy" && circuit !== "open" && workers < maxWorkers;
}

function statsOf(entries: readonly ProviderEntry[]) {
  const statuses = entries.map(({ status }) => status);
  const enabled = statuses.filter(({ isEnabled }) => isEnabled);
  const sum = (numbers: readonly number[]) => numbers.reduce((one, other) => one + other, 0);
  const places = sum(enabled.map(({ maxWorkers }) => maxWorkers));
  const used = sum(enabled.map(({ workers }) => workers));
  return {
    totalProviders: entries.length,
    enabledProviders: enabled.length,
    healthyProviders: statuses.filter(({ health }) => health === "healthy").length,
    providersWithCapacity: entries.filter(hasCapacity).length,
    totalMaxWorkers: places,
    totalActiveWorkers: sum(statuses.map(({ workers }) => workers)),
    utilizationPercent: places === 0 ? 0 : (100 * used) / places,
  };
}
