import { HodeiError } from "#error.ts";
import { describeLiving, maxProviderEvents } from "#store/provider-store.ts";
import type {
  NewProvider,
  NewProviderEvent,
  Page,
  PageQuery,
  ProviderChange,
  ProviderEventQuery,
} from "#store/store.ts";
import type { ProviderEvent, ProviderRecord, ProviderState } from "#worker/provider-record.ts";
import { cut } from "./page.ts";
import type { State } from "./state.ts";

export function addProvider(state: State, given: NewProvider, now: number): ProviderRecord {
  if (state.providers.has(given.name)) {
    throw new HodeiError("already_exists", `there is a provider ${given.name} already`);
  }
  const record = { ...given, version: 1, createdAt: now, updatedAt: now };
  state.providers.set(given.name, record);
  return record;
}

export function listProviders(state: State, query: PageQuery): Page<ProviderRecord> {
  const rows = [...state.providers.values()];
  rows.sort((one, other) => (one.name < other.name ? -1 : 1));
  return cut(rows, query, {
    isToken: (token) => token.startsWith("p:"),
    isAfter: (row, token) => row.name > token.slice(2),
    tokenOf: (row) => `p:${row.name}`,
  });
}

export function changeProvider(state: State, change: ProviderChange, now: number): ProviderRecord {
  const before = getProvider(state, change.name);
  if (change.version !== undefined && before.version !== change.version) {
    throw new HodeiError("aborted", `provider ${change.name} was changed by someone else`);
  }
  const record = { ...before, ...change.set, version: before.version + 1, updatedAt: now };
  state.providers.set(change.name, record);
  return record;
}

export function removeProvider(state: State, name: string): void {
  getProvider(state, name);
  const workers = [...state.workers.values()].filter(
    ({ worker }) => worker.provider === name && worker.state !== "ended",
  ).length;
  if (workers > 0) throw new HodeiError("failed_precondition", describeLiving(name, workers));
  state.providers.delete(name);
  state.providerStates.delete(name);
  state.providerEvents = state.providerEvents.filter(({ event }) => event.provider !== name);
}

export function appendProviderEvents(state: State, events: readonly NewProviderEvent[]): void {
  for (const { expiresAt, ...event } of events) {
    if (!state.providers.has(event.provider)) continue;
    state.providerSequence++;
    const sequence = state.providerSequence;
    state.providerEvents.push({ event: { ...event, sequence }, expiresAt });
    const own = state.providerEvents.filter((row) => row.event.provider === event.provider);
    const [oldest] = own;
    if (own.length > maxProviderEvents && oldest !== undefined) {
      state.providerEvents.splice(state.providerEvents.indexOf(oldest), 1);
    }
  }
}

export function listProviderEvents(state: State, query: ProviderEventQuery): Page<ProviderEvent> {
  const rows = state.providerEvents
    .map((row) => row.event)
    .filter((event) => event.provider === query.provider)
    .toReversed();
  return cut(rows, query, {
    isToken: (token) => /^e:\d{1,15}$/.test(token),
    isAfter: (row, token) => row.sequence < Number(token.slice(2)),
    tokenOf: (row) => `e:${row.sequence}`,
  });
}

export function saveProviderStates(state: State, given: readonly ProviderState[]): void {
  for (const one of given) {
    if (state.providers.has(one.provider)) state.providerStates.set(one.provider, one);
  }
}

export function listProviderStates(state: State): readonly ProviderState[] {
  const rows = [...state.providerStates.values()];
  return rows.toSorted((one, other) => (one.provider < other.provider ? -1 : 1));
}

function getProvider(state: State, name: string): ProviderRecord {
  const found = state.providers.get(name);
  if (found === undefined) throw new HodeiError("not_found", `there is no provider ${name}`);
  return found;
}
