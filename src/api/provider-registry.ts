import type { ProviderStatus } from "#scheduler/scheduler.ts";
import type { ProviderRecord, ProviderTerms } from "#worker/provider-record.ts";

/** The providers of a server, their records and what runs of them. Its changes happen one after the other. */
export interface ProviderRegistry {
  /** By name. */
  list(): Promise<readonly ProviderEntry[]>;

  /** By name or id. Error: `not_found`. */
  get(nameOrId: string): Promise<ProviderEntry>;

  /** Errors: `already_exists`, `invalid_argument` naming the field, `resource_exhausted`. */
  register(given: NewEntry, actor: string): Promise<ProviderEntry>;

  /** Errors: `not_found`, `aborted` for another version, `invalid_argument`, `failed_precondition` when that cannot change while there are workers. */
  update(nameOrId: string, change: EntryChange, actor: string): Promise<ProviderEntry>;

  /** What runs there goes on in any case. Error: `not_found`. */
  enable(nameOrId: string, change: EnabledChange, actor: string): Promise<ProviderEntry>;

  /** Errors: `not_found`, `failed_precondition` while it has workers, or where it would be there again after the next start. */
  remove(nameOrId: string): Promise<void>;
}

export interface ProviderEntry {
  readonly record: PublicRecord;
  readonly status: ProviderStatus;
}

/** A record without its credentials. */
export interface PublicRecord extends Omit<ProviderRecord, "secret"> {
  readonly hasCredentials: boolean;
}

export interface NewEntry {
  readonly name: string;
  readonly type: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** Undefined: none of its own. */
  readonly credentials: Credentials | undefined;
  readonly terms: ProviderTerms;
}

export interface EntryChange {
  /** Undefined: whatever there is. */
  readonly version: number | undefined;
  readonly terms: Partial<Omit<ProviderTerms, "isEnabled">>;
  readonly config?: Readonly<Record<string, unknown>>;
  /** Undefined: none any more. */
  readonly credentials?: Credentials | undefined;
}

export interface EnabledChange {
  readonly isEnabled: boolean;
  /** Empty: not said. */
  readonly reason: string;
}

/** Empty texts are not given. */
export interface Credentials {
  readonly kubeconfig: string;
  readonly dockerCa: string;
  readonly dockerCert: string;
  readonly dockerKey: string;
}
