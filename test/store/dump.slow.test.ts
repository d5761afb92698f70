import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { decodeRecord, encodeRecord, type DumpRecord, type StoreDump } from "#store/dump.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import { openSqliteDump } from "#store/sqlite/dump.ts";
import { openSqliteStore } from "#store/sqlite/open.ts";
import type { Store } from "#store/store.ts";
import { newFolder } from "../logstore/folder.ts";
import { fillStore } from "./filled.ts";

async function collect(records: AsyncIterable<DumpRecord>): Promise<DumpRecord[]> {
  const found: DumpRecord[] = [];
  for await (const record of records) found.push(record);
  return found;
}

async function* through(records: readonly DumpRecord[]): AsyncGenerator<DumpRecord> {
  for (const record of records) yield decodeRecord(encodeRecord(record));
}

async function filledSqlite(): Promise<string> {
  const path = join(newFolder(), "hodei.db");
  const store = await openSqliteStore({ path });
  await fillStore(store);
  await store[Symbol.asyncDispose]();
  return path;
}

function openDump(path: string): StoreDump {
  const dump = openSqliteDump(path);
  onTestFinished(() => dump[Symbol.asyncDispose]());
  return dump;
}

/** What a reader of the store can see. */
async function look(store: Store): Promise<unknown> {
  const all = { pageSize: 100, pageToken: undefined };
  const any = { tenant: undefined, states: [], labels: {}, text: "" };
  const jobs = await store.listJobs({
    ...all,
    ...any,
    submittedAfter: undefined,
    submittedBefore: undefined,
  });
  const workers = { ...all, states: ["ready", "ended", "planned"] as const };
  return {
    jobs: jobs.rows,
    events: await Promise.all(jobs.rows.map(({ id }) => store.listEvents(id, 0, 100))),
    workers: await store.listWorkers({ ...workers, provider: undefined, tenant: undefined }),
    tokens: await store.listTokens(all),
    audit: await store.listAudit({ ...all, correlationId: "", actor: "", target: "" }),
    providers: await store.listProviders(all),
    providerEvents: await store.listProviderEvents({ ...all, provider: "here" }),
    providerStates: await store.listProviderStates(),
    demand: await store.readDemand(Date.now()),
  };
}

test("a copy of the embedded store is what the original is", async () => {
  const path = await filledSqlite();
  const copyPath = join(newFolder(), "hodei.db");
  const from = openDump(path);
  const to = openDump(copyPath);
  const counts = await to.load(from.dump());
  expect(counts).toMatchObject({
    jobs: 5,
    keys: 1,
    workers: 2,
    tokens: 1,
    providers: 1,
    providerStates: 1,
  });
  await from[Symbol.asyncDispose]();
  await to[Symbol.asyncDispose]();
  await using original = await openSqliteStore({ path });
  await using copy = await openSqliteStore({ path: copyPath });
  expect(await look(copy)).toEqual(await look(original));
});

test("a dump goes through NDJSON, the model and back unchanged", async () => {
  const from = openDump(await filledSqlite());
  const records = await collect(from.dump());
  const model = openMemoryStore();
  await model.load(through(records));
  const again = await collect(model.dump());
  expect(again).toEqual(records);
  const path = join(newFolder(), "hodei.db");
  const to = openDump(path);
  await to.load(through(again));
  expect(await collect(to.dump())).toEqual(records);
  await to[Symbol.asyncDispose]();
  await using store = await openSqliteStore({ path });
  expect(await look(store)).toEqual(await look(model));
});

test("a copied store goes on where the original was", async () => {
  const path = join(newFolder(), "hodei.db");
  const first = await openSqliteStore({ path });
  const { running, queued, claim, session, submit, now } = await fillStore(first);
  await first[Symbol.asyncDispose]();
  const copyPath = join(newFolder(), "hodei.db");
  const from = openDump(path);
  const to = openDump(copyPath);
  await to.load(from.dump());
  await to[Symbol.asyncDispose]();
  await using copy = await openSqliteStore({ path: copyPath });
  expect(await copy.findSession(session.workerId)).toEqual(session.hash);
  // The same key gives the same job.
  const [repeated] = await copy.submitJobs([submit], now);
  expect(repeated).toMatchObject({ kind: "accepted", alreadyExisted: true });
  const [answer] = await copy.finishAttempts([running], now + 1_000);
  expect(answer).toBe("ok");
  const assigned = await copy.claimNext(session.workerId, claim, now + 2_000);
  expect(assigned.map(({ jobId }) => jobId)).toEqual([queued]);
});

test("refuses a store that is not empty, and a dump that is not whole, and keeps nothing of it", async () => {
  const from = openDump(await filledSqlite());
  const records = await collect(from.dump());
  const refused = expect.objectContaining({ code: "failed_precondition" });
  await expect(from.load(through(records))).rejects.toThrow(refused);
  for (const broken of [records.slice(0, -1), records.slice(1), records.toSpliced(3, 1)]) {
    const to = openDump(join(newFolder(), "hodei.db"));
    await expect(to.load(through(broken))).rejects.toThrow("the dump ");
    expect(await collect(to.dump())).toHaveLength(2);
  }
  expect(() => decodeRecord("{")).toThrow("no record");
});

test("leaves a store alone that a server has open", async () => {
  const path = join(newFolder(), "hodei.db");
  await using store = await openSqliteStore({ path });
  expect(() => openSqliteDump(path)).toThrow(
    expect.objectContaining({ code: "failed_precondition" }),
  );
  expect(await store.listLiveWorkers()).toEqual([]);
});
