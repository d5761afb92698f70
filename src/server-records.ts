import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Credentials } from "#api/provider-registry.ts";
import type { Config } from "#config.ts";
import { HodeiError } from "#error.ts";
import { serversOf } from "#provider/kubernetes/kubeconfig-check.ts";
import type { NewProvider, Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import {
  plainTerms,
  providerIdOf,
  type ProviderRecord,
  type ProviderType,
} from "#worker/provider-record.ts";
import { LateProvider, type OpenProvider } from "./server-provider-late.ts";
import { checkCredentials, mergedConfig } from "./server-provider-config.ts";
import {
  checkEntry,
  type FileEntry,
  ofEntry,
  readProvidersFile,
  termsOf,
} from "./server-provider-file.ts";
import {
  environmentTypes,
  instanceOf,
  openProvider,
  processDirectory,
  type ProvidersGround,
  standardWorkers,
} from "./server-providers.ts";
import { Registry } from "./server-registry.ts";
import type { RegistryEntry } from "./server-registry-entry.ts";
import { openSecretBox, type SecretBox } from "./server-secrets.ts";

export interface RecordsGround extends Omit<ProvidersGround, "instance"> {
  readonly config: Config;
  readonly store: Store;
}

/** What it takes to make a provider of a record. */
export interface Records {
  readonly store: Store;
  readonly log: Logger;
  readonly now: () => number;
  listAll(): Promise<readonly ProviderRecord[]>;
  /** Opening rejects with what is wrong with the record or what it names. */
  opener(record: NewProvider): OpenProvider;
  standardWorkers(type: ProviderType): number | undefined;
  /** Error: `invalid_argument`, naming the field. */
  seal(
    record: Pick<ProviderRecord, "id" | "type" | "config">,
    credentials: Credentials | undefined,
  ): Promise<Uint8Array | undefined>;
  /** Removes what its provider left on this machine. */
  forget(record: ProviderRecord): Promise<void>;
  /** Where the stored credentials of a cluster lead, and where these would. */
  serversOf(
    record: ProviderRecord,
    credentials: Credentials | undefined,
  ): Promise<readonly [string, string]>;
}

/**
 * Opens all providers that this server knows: those of its settings, those of its file, which replace what the store has of them, and those of calls. What
 * cannot be opened now is kept; only what is wrong in settings and the file is an error (`invalid_argument`).
 */
export async function openRegistry(ground: RecordsGround): Promise<Registry> {
  const records = await createRecords(ground);
  const { config, store } = ground;
  const entries = await readProvidersFile(config.providersFile);
  const types = environmentTypes(config, entries.length > 0);
  const named = new Map<string, string>();
  for (const type of types) {
    await again(() => putEnvironment(store, type));
    named.set(type, "is one of the server's settings; switch it off there");
  }
  for (const entry of entries) {
    await again(() => putEntry(ground, entry));
    named.set(entry.name, "is in HODEI_PROVIDERS_FILE; take it out there");
  }
  await using opened = new AsyncDisposableStack(); // Undoes an opening that fails halfway.
  const openOne = async (record: ProviderRecord): Promise<RegistryEntry | undefined> => {
    const isLeftOver = record.source !== "api" && !named.has(record.name);
    if (isLeftOver && (await isRemoved(ground, record.name))) return undefined;
    const open = records.opener(record);
    const isOurs = record.source === "env" && !isLeftOver;
    const provider = isOurs
      ? await LateProvider.openNow(record, open)
      : await LateProvider.openLate(record, open);
    opened.use(provider);
    if (provider.opened === undefined) {
      const { reason } = await provider.health();
      ground.log.warn({ provider: record.name, reason }, "a provider cannot be opened");
    }
    return { record, provider, pinned: named.get(record.name), isLeftOver };
  };
  // Clusters that do not answer take their time; they take it together.
  const results = await Promise.allSettled((await listAll(store)).map(openOne));
  const found = results.flatMap((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value ?? [];
  });
  opened.move();
  return new Registry(
    records,
    found.toSorted((one, other) => orderOf(types, one, other)),
  );
}

async function createRecords(ground: RecordsGround): Promise<Records> {
  const { config: server, directory, store, log } = ground;
  const secrets = await openSecretBox(server, directory);
  let instance: Promise<string> | undefined;
  const providers = {
    ...ground,
    instance: () => (instance ??= sharedInstance(store, directory)),
  };
  const opener = (record: NewProvider): OpenProvider => {
    return async () => {
      const { name, type, source, id, config: own } = record;
      const credentials = await unseal(secrets, record);
      if (source === "env") {
        return openProvider({ name, type, id: undefined, config: server, credentials }, providers);
      }
      const config = mergedConfig(type, own, { source, server, credentials });
      return openProvider({ name, type, id, config, credentials }, providers);
    };
  };
  return {
    store,
    log,
    now: Date.now,
    listAll: () => listAll(store),
    opener,
    standardWorkers: (type) => standardWorkers(type, server),
    async seal({ id, type, config }, credentials) {
      if (credentials === undefined) return undefined;
      const checked = checkCredentials(type, credentials, { config, server });
      return secrets.seal(JSON.stringify(checked), id);
    },
    async forget({ id, type }) {
      if (type !== "process") return;
      await rm(join(processDirectory(server, directory), id), { recursive: true, force: true });
    },
    async serversOf(record, credentials) {
      const { type, config } = record;
      const before = await unseal(secrets, record).catch(() => undefined);
      const after = credentials && checkCredentials(type, credentials, { config, server });
      const where = (given: Credentials | undefined) =>
        given === undefined ? "" : serversOf(given.kubeconfig);
      return [where(before), where(after)];
    },
  };
}

/** Servers that share a store know their workers by the same name. */
async function sharedInstance({ replicas }: Store, directory: string): Promise<string> {
  const own = await instanceOf(directory);
  if (replicas === undefined) return own;
  return new TextDecoder().decode(await replicas.keep("instance", new TextEncoder().encode(own)));
}

async function unseal(
  secrets: SecretBox,
  { id, secret }: Pick<NewProvider, "id" | "secret">,
): Promise<Credentials | undefined> {
  if (secret === undefined) return undefined;
  return JSON.parse(await secrets.open(secret, id)) as Credentials;
}

async function listAll(store: Store): Promise<readonly ProviderRecord[]> {
  const all: ProviderRecord[] = [];
  let pageToken: string | undefined;
  do {
    const page = await store.listProviders({ pageSize: 100, pageToken });
    all.push(...page.rows);
    pageToken = page.nextPageToken;
  } while (pageToken !== undefined);
  return all;
}

/** Servers that start at the same time write the same records: who comes second looks again. */
async function again(put: () => Promise<void>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await put();
    } catch (error) {
      // What is wrong with an entry of the file is the cause of an error that names it.
      const cause = error instanceof HodeiError && error.code === "invalid_argument" && error.cause;
      const { code } = (cause || error) as { readonly code?: unknown };
      if (!overtaken.has(code) || tries >= mostTries) throw error;
    }
  }
}

const overtaken: ReadonlySet<unknown> = new Set(["already_exists", "aborted"]);
const mostTries = 3;

async function putEnvironment(store: Store, type: ProviderType): Promise<void> {
  if ((await store.findProvider(type)) !== undefined) return;
  const id = providerIdOf(randomBytes(8));
  const made = {
    ...plainTerms,
    id,
    name: type,
    type,
    source: "env",
    config: {},
    secret: undefined,
  };
  await store.addProvider(made as NewProvider, Date.now());
}

/** Makes the record what the entry says. Error: `invalid_argument`, naming the entry. */
async function putEntry({ store, config: server }: RecordsGround, entry: FileEntry): Promise<void> {
  const { name, type, config } = entry;
  checkEntry(entry, server);
  try {
    const before = await store.findProvider(name);
    if (before !== undefined && before.source !== "file") {
      throw new HodeiError("already_exists", "a provider of this name was registered by a call");
    }
    if (before !== undefined && before.type !== type) await store.removeProvider(name);
    if (before?.type !== type) {
      const who = { id: providerIdOf(randomBytes(8)), name, type, source: "file" } as const;
      const made = { ...termsOf(entry), ...who, config, secret: undefined };
      await store.addProvider(made, Date.now());
      return;
    }
    const isEnabled = entry.isEnabled ?? before.isEnabled;
    const set = { ...entry.terms, isEnabled, config };
    if (isSame(before, set)) return;
    await store.changeProvider({ name, version: before.version, set }, Date.now());
  } catch (error) {
    throw ofEntry(name, error);
  }
}

/** A restart alone is no change. */
function isSame(record: ProviderRecord, set: Partial<ProviderRecord>): boolean {
  return JSON.stringify({ ...record, ...set }) === JSON.stringify(record);
}

/** What nobody names any more goes at once, or once its workers are over and the server starts again. */
async function isRemoved({ store, log }: RecordsGround, name: string): Promise<boolean> {
  try {
    await store.removeProvider(name);
    log.info({ provider: name }, "a provider that nothing names any more was removed");
    return true;
  } catch (error) {
    if (!(error instanceof HodeiError)) throw error;
    // Another server was quicker.
    if (error.code === "not_found") return true;
    if (error.code !== "failed_precondition") throw error;
    log.warn({ provider: name }, "a provider that nothing names any more still has workers");
    return false;
  }
}

/** Those of the settings first, in their order; then the older ones. */
function orderOf(
  types: readonly string[],
  { record: one }: RegistryEntry,
  { record: other }: RegistryEntry,
): number {
  const place = ({ source, name }: ProviderRecord) =>
    source === "env" ? types.indexOf(name) : types.length;
  return place(one) - place(other) || one.createdAt - other.createdAt;
}
