import type { StatementSync } from "node:sqlite";
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
import type { Core } from "./core.ts";
import { badToken, page } from "./lists.ts";

type ProviderRow = { readonly data: string; readonly secret: Uint8Array | null };
/** A type of its own, which may be asserted of a row. */
type StateRow = { readonly [field in keyof ProviderState]: ProviderState[field] };
type EventRow = { readonly sequence: number; readonly data: string };

/** Providers and their histories. Few rows, seldom changed. */
export class ProviderSteps {
  readonly #core: Core;
  readonly #put: StatementSync;
  readonly #select: StatementSync;
  readonly #scan: StatementSync;
  readonly #delete: StatementSync;
  readonly #insertEvent: StatementSync;
  readonly #cutEvents: StatementSync;
  readonly #deleteEvents: StatementSync;
  readonly #scanEvents: StatementSync;
  readonly #putState: StatementSync;
  readonly #scanStates: StatementSync;
  readonly #deleteState: StatementSync;

  constructor(core: Core) {
    this.#core = core;
    const { db } = core;
    this.#put = db.prepare(
      "INSERT OR REPLACE INTO providers (name, data, secret) VALUES (?, ?, ?)",
    );
    this.#select = db.prepare("SELECT data, secret FROM providers WHERE name = ?");
    this.#scan = db.prepare(
      "SELECT data, secret FROM providers WHERE name > ? ORDER BY name LIMIT ?",
    );
    this.#delete = db.prepare("DELETE FROM providers WHERE name = ?");
    this.#insertEvent = db.prepare(
      "INSERT INTO provider_events (provider, data, expires_at) VALUES (?, ?, ?)",
    );
    this.#cutEvents = db.prepare(
      `DELETE FROM provider_events WHERE provider = ?1 AND sequence <= (
        SELECT sequence FROM provider_events WHERE provider = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)`,
    );
    this.#deleteEvents = db.prepare("DELETE FROM provider_events WHERE provider = ?");
    this.#scanEvents = db.prepare(
      "SELECT sequence, data FROM provider_events WHERE provider = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?",
    );
    this.#putState = db.prepare(
      `INSERT OR REPLACE INTO provider_states (provider, at, data)
        SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM providers WHERE name = ?1)`,
    );
    this.#scanStates = db.prepare(
      "SELECT provider, at, data FROM provider_states ORDER BY provider",
    );
    this.#deleteState = db.prepare("DELETE FROM provider_states WHERE provider = ?");
  }

  addProvider(given: NewProvider, now: number): ProviderRecord {
    if (this.findProvider(given.name) !== undefined) {
      throw new HodeiError("already_exists", `there is a provider ${given.name} already`);
    }
    return this.#save({ ...given, version: 1, createdAt: now, updatedAt: now });
  }

  findProvider(name: string): ProviderRecord | undefined {
    const row = this.#select.get(name) as ProviderRow | undefined;
    return row === undefined ? undefined : decodeProvider(row);
  }

  listProviders({ pageSize, pageToken }: PageQuery): Page<ProviderRecord> {
    if (pageToken?.startsWith("p:") === false) throw badToken();
    const rows = this.#scan.all(pageToken?.slice(2) ?? "", pageSize + 1) as ProviderRow[];
    return page<ProviderRow, ProviderRecord>(rows, {
      pageSize,
      isWhole: true,
      show: decodeProvider,
      tokenOf: (row) => `p:${decodeProvider(row).name}`,
    });
  }

  changeProvider({ name, version, set }: ProviderChange, now: number): ProviderRecord {
    const before = this.#get(name);
    if (version !== undefined && before.version !== version) {
      throw new HodeiError("aborted", `provider ${name} was changed by someone else`);
    }
    return this.#save({ ...before, ...set, version: before.version + 1, updatedAt: now });
  }

  removeProvider(name: string): void {
    this.#get(name);
    const live = [...this.#core.workers.live.values()];
    const workers = live.filter(({ worker }) => worker.provider === name).length;
    if (workers > 0) throw new HodeiError("failed_precondition", describeLiving(name, workers));
    this.#delete.run(name);
    this.#deleteEvents.run(name);
    this.#deleteState.run(name);
  }

  appendProviderEvents(events: readonly NewProviderEvent[]): void {
    const known = new Set<string>();
    for (const { expiresAt, ...event } of events) {
      const { provider } = event;
      if (!known.has(provider) && this.#select.get(provider) === undefined) continue;
      known.add(provider);
      this.#insertEvent.run(provider, JSON.stringify(event), expiresAt);
    }
    for (const provider of known) this.#cutEvents.run(provider, maxProviderEvents);
  }

  listProviderEvents(query: ProviderEventQuery): Page<ProviderEvent> {
    const { provider, pageToken, pageSize } = query;
    if (pageToken !== undefined && !/^e:\d{1,15}$/.test(pageToken)) throw badToken();
    const below = pageToken === undefined ? Number.MAX_SAFE_INTEGER : Number(pageToken.slice(2));
    const rows = this.#scanEvents.all(provider, below, pageSize + 1) as EventRow[];
    return page<EventRow, ProviderEvent>(rows, {
      pageSize,
      isWhole: true,
      show: ({ sequence, data }) => ({
        ...(JSON.parse(data) as Omit<ProviderEvent, "sequence">),
        sequence,
      }),
      tokenOf: (row) => `e:${row.sequence}`,
    });
  }

  saveProviderStates(states: readonly ProviderState[]): void {
    for (const { provider, at, data } of states) this.#putState.run(provider, at, data);
  }

  listProviderStates(): readonly ProviderState[] {
    return (this.#scanStates.all() as StateRow[]).map((row) => ({ ...row }));
  }

  #get(name: string): ProviderRecord {
    const found = this.findProvider(name);
    if (found === undefined) throw new HodeiError("not_found", `there is no provider ${name}`);
    return found;
  }

  #save(record: ProviderRecord): ProviderRecord {
    const { secret, ...rest } = record;
    this.#put.run(record.name, JSON.stringify(rest), secret ?? null);
    return record;
  }
}

function decodeProvider(row: ProviderRow): ProviderRecord {
  const stored = JSON.parse(row.data) as Omit<ProviderRecord, "secret">;
  return { ...absent, ...stored, secret: row.secret ?? undefined };
}

/** JSON leaves out what is undefined, and older records know no runtimes. */
const absent = {
  maxWorkers: undefined,
  pricePerHour: undefined,
  startDeadlineMs: undefined,
  runtimes: [],
};
