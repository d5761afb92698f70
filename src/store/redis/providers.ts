import { HodeiError } from "#error.ts";
import { describeLiving, maxProviderEvents, type ProviderStore } from "#store/provider-store.ts";
import type { ProviderChange, ProviderEventQuery } from "#store/store.ts";
import type { ProviderEvent, ProviderRecord, ProviderState } from "#worker/provider-record.ts";
import { checked } from "./fault.ts";
import type { Link } from "./link.ts";
import { badToken, readPage } from "./page.ts";
import { pack, unpack, type Unpacked } from "./pack.ts";
import { bufferOf } from "./rows.ts";
import { isAbsent, maybeBytes, toList, toNumber, toText } from "./values.ts";

/** Changes that came between reading and writing, one after the other. */
const maxTries = 20;

/** Providers are few and seldom change: read, merged here, and written if nobody else did meanwhile. */
export function providerSteps(link: Link): ProviderStore {
  return {
    addProvider: async (provider, now) => {
      const record = { ...provider, version: 1, createdAt: now, updatedAt: now };
      if (await put(link, record, 0)) return record;
      const problem = `there is a provider ${provider.name} already`;
      throw new HodeiError("already_exists", problem);
    },
    findProvider: (name) => findProvider(link, name),
    listProviders: async (query) => {
      const { pageSize, pageToken } = query;
      if (pageToken?.startsWith("p:") === false) throw badToken();
      const after = pageToken?.slice(2) ?? "";
      const all = toList(await link.step("listProviders")).map(decodeProvider);
      const rows = all.filter(({ name }) => name > after);
      rows.sort((one, other) => (one.name < other.name ? -1 : 1));
      const show = { from: pageToken, fits: () => true, tokenOf: nameToken };
      return readPage({ pageSize, ...show }, async () => ({ rows, next: undefined }));
    },
    changeProvider: (change, now) => changeProvider(link, change, now),
    removeProvider: async (name) => {
      const live = toNumber(checked(await link.step("removeProvider", name)));
      if (live > 0) throw new HodeiError("failed_precondition", describeLiving(name, live));
    },
    appendProviderEvents: async (events) => {
      const given = events.map(({ expiresAt, ...event }) => {
        return [event.provider, JSON.stringify(event), expiresAt];
      });
      await link.step("appendProviderEvents", given, maxProviderEvents);
    },
    listProviderEvents: async (query) => listProviderEvents(link, query),
    saveProviderStates: async (states) => {
      await link.step(
        "saveProviderStates",
        states.map((state) => [state.provider, packState(state)]),
      );
    },
    listProviderStates: async () => {
      const rows = toList(await link.step("listProviderStates")).map(decodeState);
      return rows.toSorted((one, other) => (one.provider < other.provider ? -1 : 1));
    },
  };
}

function nameToken({ name }: ProviderRecord): string {
  return `p:${name}`;
}

async function findProvider(link: Link, name: string): Promise<ProviderRecord | undefined> {
  const answer = await link.step("findProvider", name);
  return isAbsent(answer) ? undefined : decodeProvider(answer);
}

async function changeProvider(
  link: Link,
  { name, version, set }: ProviderChange,
  now: number,
): Promise<ProviderRecord> {
  for (let tries = 0; tries < maxTries; tries++) {
    const before = await findProvider(link, name);
    if (before === undefined) throw new HodeiError("not_found", `there is no provider ${name}`);
    if (version !== undefined && before.version !== version) break;
    const record = { ...before, ...set, version: before.version + 1, updatedAt: now };
    if (await put(link, record, before.version)) return record;
  }
  throw new HodeiError("aborted", `provider ${name} was changed by someone else`);
}

/** Whether the record that it replaces had that version; 0: there was none. */
async function put(link: Link, record: ProviderRecord, version: number): Promise<boolean> {
  const { secret, ...rest } = record;
  const row = pack([record.version, JSON.stringify(rest), secret]);
  return (await link.step("putProvider", record.name, version, row)) === true;
}

export function decodeProvider(answer: Unpacked): ProviderRecord {
  const [, data, secret] = toList(unpack(bufferOf(answer))[0]);
  const stored = JSON.parse(toText(data)) as Omit<ProviderRecord, "secret">;
  return { ...absent, ...stored, secret: maybeBytes(secret) };
}

export function packState({ provider, at, data }: ProviderState): Buffer {
  return pack([provider, at, data]);
}

export function decodeState(answer: Unpacked): ProviderState {
  const [provider, at, data] = toList(unpack(bufferOf(answer))[0]);
  return { provider: toText(provider), at: toNumber(at), data: toText(data) };
}

/** JSON leaves out what is undefined, and older records know no runtimes. */
const absent = {
  maxWorkers: undefined,
  pricePerHour: undefined,
  startDeadlineMs: undefined,
  runtimes: [],
};

async function listProviderEvents(link: Link, query: ProviderEventQuery) {
  const { provider, pageToken, pageSize } = query;
  if (pageToken !== undefined && !/^e:\d{1,15}$/.test(pageToken)) throw badToken();
  const below = pageToken === undefined ? Infinity : Number(pageToken.slice(2));
  const all = toList(await link.step("listProviderEvents", provider)).map(eventOf);
  const rows = all.filter(({ sequence }) => sequence < below);
  rows.sort((one, other) => other.sequence - one.sequence);
  const tokenText = (event: ProviderEvent) => `e:${event.sequence}`;
  const show = { from: pageToken, fits: () => true, tokenOf: tokenText };
  return readPage({ pageSize, ...show }, async () => ({ rows, next: undefined }));
}

export function eventOf(answer: Unpacked): ProviderEvent {
  const [sequence, data] = toList(answer);
  const event = JSON.parse(toText(data)) as Omit<ProviderEvent, "sequence">;
  return { ...event, sequence: toNumber(sequence) };
}
