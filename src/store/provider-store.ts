import type { ProviderEvent, ProviderRecord, ProviderState } from "#worker/provider-record.ts";
import type { Page, PageQuery } from "./page.ts";

/** Events of one provider that are kept; the oldest go first. */
export const maxProviderEvents = 500;

/** Providers and what happened to them. Names are unique. */
export interface ProviderStore {
  /** Its version becomes 1, and its times are `now`. Error: `already_exists`. */
  addProvider(provider: NewProvider, now: number): Promise<ProviderRecord>;

  findProvider(name: string): Promise<ProviderRecord | undefined>;

  /** By name. */
  listProviders(query: PageQuery): Promise<Page<ProviderRecord>>;

  /** Replaces what is given, in one more version. Errors: `not_found`; `aborted` when the version is not the given one any more. */
  changeProvider(change: ProviderChange, now: number): Promise<ProviderRecord>;

  /** Deletes it with its events and its state. Errors: `not_found`; `failed_precondition`, naming how many, while workers of it are not over. */
  removeProvider(name: string): Promise<void>;

  /** Adds to the histories of providers that are known; others are passed over. */
  appendProviderEvents(events: readonly NewProviderEvent[]): Promise<void>;

  /** Newest first. */
  listProviderEvents(query: ProviderEventQuery): Promise<Page<ProviderEvent>>;

  /** In place of what was saved before; those of providers that are not known are passed over. */
  saveProviderStates(states: readonly ProviderState[]): Promise<void>;

  /** By the provider's name; one at most of each. */
  listProviderStates(): Promise<readonly ProviderState[]>;
}

export type NewProvider = Omit<ProviderRecord, "version" | "createdAt" | "updatedAt">;

export interface ProviderChange {
  readonly name: string;
  /** The version that is changed; undefined: whatever there is. */
  readonly version: number | undefined;
  readonly set: Partial<Omit<NewProvider, "id" | "name" | "type">>;
}

export type NewProviderEvent = Omit<ProviderEvent, "sequence"> & { readonly expiresAt: number };

export interface ProviderEventQuery extends PageQuery {
  readonly provider: string;
}

export function describeLiving(name: string, workers: number): string {
  return `provider ${name} has ${workers} live ${workers === 1 ? "worker" : "workers"}`;
}
