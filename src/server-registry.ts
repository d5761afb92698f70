import { randomBytes } from "node:crypto";
import type {
  EnabledChange,
  EntryChange,
  NewEntry,
  ProviderEntry,
  ProviderRegistry,
} from "#api/provider-registry.ts";
import { HodeiError, invalid } from "#error.ts";
import type { Provider } from "#provider/provider.ts";
import type { ProviderChange, ProviderSettings, Scheduler } from "#scheduler/scheduler.ts";
import type { NewProvider, NewProviderEvent } from "#store/store.ts";
import {
  isProviderType,
  providerIdOf,
  providerNameProblem,
  type ProviderRecord,
} from "#worker/provider-record.ts";
import { LateProvider } from "./server-provider-late.ts";
import {
  connectsTo,
  refusing,
  type RegistryEntry,
  settingsOf,
  unknownProvider,
  wordOf,
} from "./server-registry-entry.ts";
import { checkTerms } from "./server-provider-config.ts";
import type { Records } from "./server-records.ts";

/** More would make every decision slow. */
const mostProviders = 500;
const eventTtlMs = 30 * 86_400_000;

/** Keeps the records, what was opened of them and the scheduler's view together. Disposing closes the providers. */
export class Registry implements ProviderRegistry, AsyncDisposable {
  readonly #records: Records;
  readonly #entries: Map<string, RegistryEntry>;
  #scheduler: Scheduler | undefined;
  /** The change under way; the next one waits for it. */
  #last: Promise<unknown> = Promise.resolve();
  #isLooking = false;

  constructor(records: Records, opened: readonly RegistryEntry[]) {
    this.#records = records;
    this.#entries = new Map(opened.map((entry) => [entry.record.name, entry]));
  }

  /** For the scheduler, from its start on. */
  get providers(): readonly Provider[] {
    return [...this.#entries.values()].map(({ provider }) => provider);
  }

  get settings(): ReadonlyMap<string, ProviderSettings> {
    return new Map([...this.#entries].map(([name, entry]) => [name, this.#settingsOf(entry)]));
  }

  /** Those that are open now, as they are inside. */
  opened(): readonly Provider[] {
    return [...this.#entries.values()].flatMap(({ provider }) => provider.opened ?? []);
  }

  attach(scheduler: Scheduler): void {
    this.#scheduler = scheduler;
    // Another server may have changed something since they were opened.
    this.look();
  }

  /** Writes what the scheduler saw into the history, which several servers may share: the leading one writes. */
  note({ provider, kind, from, to, reason }: ProviderChange): void {
    // Who enabled it, and why, is written by whoever did it.
    if (kind !== "enabled" && this.#scheduler?.isLeading !== false)
      this.#tell(provider, { kind, from, to, reason });
  }

  /** Other servers may have changed the records: follows them soon. */
  look(): void {
    if (this.#isLooking || this.#scheduler === undefined) return;
    this.#isLooking = true;
    this.#inTurn(() => {
      this.#isLooking = false;
      return this.#follow();
    }).catch((err: unknown) => {
      this.#records.log.warn({ err }, "cannot follow what other servers made of the providers");
    });
  }

  async list(): Promise<readonly ProviderEntry[]> {
    const statuses = await this.#attached().listProviders();
    const entries = statuses.flatMap((status) => {
      const entry = this.#entries.get(status.name);
      if (entry === undefined) return [];
      const { secret, ...record } = entry.record;
      return [{ record: { ...record, hasCredentials: secret !== undefined }, status }];
    });
    return entries.toSorted((one, other) => (one.record.name < other.record.name ? -1 : 1));
  }

  async get(nameOrId: string): Promise<ProviderEntry> {
    const { name } = this.#find(nameOrId).record;
    const found = (await this.list()).find((entry) => entry.record.name === name);
    if (found === undefined) throw unknownProvider(nameOrId);
    return found;
  }

  register(given: NewEntry, actor: string): Promise<ProviderEntry> {
    return this.#inTurn(async () => {
      const { name, type, config, terms } = given;
      const problem = providerNameProblem(name);
      if (problem !== undefined) throw invalid("name", problem);
      if (!isProviderType(type)) throw invalid("type", "has to be kubernetes, docker or process");
      if (this.#entries.has(name)) {
        throw new HodeiError("already_exists", `there is a provider ${name} already`);
      }
      if (this.#entries.size >= mostProviders) {
        throw new HodeiError("resource_exhausted", `there are ${mostProviders} providers already`);
      }
      checkTerms(terms);
      const id = providerIdOf(randomBytes(8));
      const plain = { ...terms, id, name, type, source: "api" as const, config };
      const secret = await this.#records.seal(plain, given.credentials);
      const made: NewProvider = { ...plain, secret };
      const provider = await refusing(LateProvider.openNow(made, this.#records.opener(made)));
      try {
        const record = await this.#records.store.addProvider(made, this.#records.now());
        this.#entries.set(name, { record, provider, pinned: undefined, isLeftOver: false });
      } catch (error) {
        await provider[Symbol.asyncDispose]();
        throw error;
      }
      await this.#join(name);
      this.#tell(name, { kind: "registered", to: type, actor });
      return this.get(name);
    });
  }

  update(nameOrId: string, change: EntryChange, actor: string): Promise<ProviderEntry> {
    return this.#inTurn(async () => {
      const entry = this.#find(nameOrId);
      const { record } = entry;
      const { name } = record;
      const { version, terms } = change;
      if (version !== undefined && version !== record.version) {
        throw new HodeiError("aborted", `provider ${name} was changed by someone else`);
      }
      checkTerms(terms);
      if (change.config === undefined && !("credentials" in change)) {
        await this.#save(entry, terms);
        this.#attached().changeProvider(name, this.#settingsOf(this.#find(name)));
      } else await this.#replace(entry, change);
      const words = [...Object.keys(terms), ...Object.keys(change)];
      const to = words.filter((key) => key !== "terms" && key !== "version").join(" ");
      this.#tell(name, { kind: "changed", to, actor });
      return this.get(name);
    });
  }

  enable(nameOrId: string, change: EnabledChange, actor: string): Promise<ProviderEntry> {
    return this.#inTurn(async () => {
      const entry = this.#find(nameOrId);
      const { name, isEnabled: before } = entry.record;
      const { isEnabled, reason } = change;
      if (entry.isLeftOver && isEnabled) {
        const text = `provider ${name} is named by no setting and no file any more`;
        throw new HodeiError("failed_precondition", text);
      }
      if (before !== isEnabled) {
        await this.#save(entry, { isEnabled });
        this.#attached().changeProvider(name, this.#settingsOf(this.#find(name)));
        const [from, to] = [wordOf(before), wordOf(isEnabled)];
        this.#tell(name, { kind: "enabled", from, to, reason, actor });
      }
      return this.get(name);
    });
  }

  remove(nameOrId: string): Promise<void> {
    return this.#inTurn(async () => {
      const { record, provider, pinned } = this.#find(nameOrId);
      const { name } = record;
      if (pinned !== undefined) {
        throw new HodeiError("failed_precondition", `provider ${name} ${pinned}`);
      }
      await this.#attached().removeProvider(name);
      try {
        await this.#records.store.removeProvider(name);
      } catch (error) {
        await this.#join(name);
        throw error;
      }
      this.#entries.delete(name);
      await provider[Symbol.asyncDispose]();
      await this.#records.forget(record);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    const providers = [...this.#entries.values()].map(({ provider }) => provider);
    await Promise.all(providers.map((provider) => provider[Symbol.asyncDispose]()));
  }

  /** Another inside for the same provider; it is open before anything changes. */
  async #replace(entry: RegistryEntry, change: EntryChange): Promise<void> {
    const { record, provider, pinned } = entry;
    const { name } = record;
    if (pinned !== undefined) {
      const text = `provider ${name} ${pinned}; its config and credentials are changed there`;
      throw new HodeiError("failed_precondition", text);
    }
    const { terms, config = record.config } = change;
    const hasNew = "credentials" in change;
    if (hasNew) await this.#checkSameCluster(record, change);
    const plain = { ...record, ...terms, config };
    const secret = hasNew ? await this.#records.seal(plain, change.credentials) : record.secret;
    const open = this.#records.opener({ ...plain, secret });
    const inner = await refusing(open());
    // Where its workers are is what a configuration says.
    const isMoved = JSON.stringify(config) !== JSON.stringify(record.config);
    try {
      if (isMoved) await this.#attached().removeProvider(name);
      await this.#save(entry, { ...terms, config, secret }).catch(async (error: unknown) => {
        if (isMoved) await this.#join(name);
        throw error;
      });
    } catch (error) {
      await inner[Symbol.asyncDispose]();
      throw error;
    }
    await provider.replace(inner, open);
    if (isMoved) await this.#join(name);
    else this.#attached().changeProvider(name, this.#settingsOf(this.#find(name)));
  }

  /** New credentials are for the cluster that its workers are in. */
  async #checkSameCluster(record: ProviderRecord, change: EntryChange): Promise<void> {
    if (record.type !== "kubernetes") return;
    const { store } = this.#records;
    const live = (await store.listLiveWorkers()).some(({ provider }) => provider === record.name);
    if (!live) return;
    const [before, after] = await this.#records.serversOf(record, change.credentials);
    if (before === after) return;
    const text = `provider ${record.name} has workers, and the credentials are for another cluster`;
    throw new HodeiError("failed_precondition", text);
  }

  async #follow(): Promise<void> {
    const records = new Map((await this.#records.listAll()).map((record) => [record.name, record]));
    for (const { record: known, provider } of this.#entries.values()) {
      const record = records.get(known.name);
      if (record?.id === known.id) await this.#followOne(known.name, record);
      else {
        await this.#attached().removeProvider(known.name);
        this.#entries.delete(known.name);
        await provider[Symbol.asyncDispose]();
      }
    }
    for (const record of records.values()) {
      if (this.#entries.has(record.name)) continue;
      const provider = await LateProvider.openLate(record, this.#records.opener(record));
      this.#entries.set(record.name, { record, provider, pinned: undefined, isLeftOver: false });
      await this.#join(record.name);
    }
  }

  async #followOne(name: string, record: ProviderRecord): Promise<void> {
    const entry = this.#find(name);
    if (entry.record.version === record.version) return;
    if (connectsTo(entry.record) !== connectsTo(record)) {
      const open = this.#records.opener(record);
      await entry.provider.replace(await open(), open);
    }
    this.#entries.set(name, { ...entry, record });
    this.#attached().changeProvider(name, this.#settingsOf(this.#find(name)));
  }

  async #save(entry: RegistryEntry, set: Partial<NewProvider>): Promise<void> {
    const { name, version } = entry.record;
    const { store, now } = this.#records;
    const record = await store.changeProvider({ name, version, set }, now());
    this.#entries.set(name, { ...entry, record });
  }

  async #join(name: string): Promise<void> {
    const entry = this.#find(name);
    await this.#attached().addProvider(entry.provider, this.#settingsOf(entry));
  }

  #settingsOf(entry: RegistryEntry): ProviderSettings {
    return settingsOf(entry, this.#records.standardWorkers(entry.record.type));
  }

  #find(nameOrId: string): RegistryEntry {
    const byId = [...this.#entries.values()].find(({ record }) => record.id === nameOrId);
    const found = this.#entries.get(nameOrId) ?? byId;
    if (found === undefined) throw unknownProvider(nameOrId);
    return found;
  }

  #attached(): Scheduler {
    if (this.#scheduler !== undefined) return this.#scheduler;
    throw new HodeiError("unavailable", "the server is starting");
  }

  async #inTurn<Result>(step: () => Promise<Result>): Promise<Result> {
    const result = this.#last.then(step);
    this.#last = result.catch(() => undefined);
    return result;
  }

  #tell(
    provider: string,
    event: Pick<NewProviderEvent, "kind"> & Partial<Omit<NewProviderEvent, "kind">>,
  ): void {
    const { store, log, now } = this.#records;
    const at = now();
    const whole = { from: "", to: "", reason: "", actor: "", ...event, provider, at };
    store
      .appendProviderEvents([{ ...whole, expiresAt: at + eventTtlMs }])
      .catch((error: unknown) => {
        log.warn({ provider, err: error }, "an event of a provider was not stored");
      });
  }
}
