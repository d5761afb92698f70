import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { DumpRecord, StoreDump } from "#store/dump.ts";
import { openRedisDump } from "#store/redis/dump.ts";
import { openRedisStore } from "#store/redis/open.ts";
import { openSqliteDump } from "#store/sqlite/dump.ts";
import { openSqliteStore } from "#store/sqlite/open.ts";
import { newFolder } from "../logstore/folder.ts";
import { fillStore } from "./filled.ts";
import { RedisServer } from "./redis-server.ts";

const server = new RedisServer();
let instances = 0;
beforeAll(() => server.start());
afterAll(() => server[Symbol.asyncDispose]());

const newInstance = () => ({ url: server.url, instance: `copy-${++instances}` });

async function collect(dump: StoreDump): Promise<DumpRecord[]> {
  const found: DumpRecord[] = [];
  for await (const record of dump.dump()) found.push(record);
  return found;
}

async function* stream(records: readonly DumpRecord[]): AsyncGenerator<DumpRecord> {
  yield* records;
}

function forTest(dump: StoreDump): StoreDump {
  onTestFinished(() => dump[Symbol.asyncDispose]());
  return dump;
}

test("a store goes from the embedded kind to Redis and back, and goes on there", async () => {
  const path = join(newFolder(), "hodei.db");
  const embedded = await openSqliteStore({ path });
  const { running, queued, claim, session, submit, now } = await fillStore(embedded);
  await embedded[Symbol.asyncDispose]();
  const from = forTest(openSqliteDump(path));
  const place = newInstance();
  const there = forTest(await openRedisDump(place));
  await there.load(from.dump());
  const records = await collect(from);
  expect(await collect(there)).toEqual(records);
  const back = forTest(openSqliteDump(join(newFolder(), "hodei.db")));
  await back.load(there.dump());
  expect(await collect(back)).toEqual(records);

  await using store = await openRedisStore(place);
  expect(await store.findSession(session.workerId)).toEqual(session.hash);
  const [repeated] = await store.submitJobs([submit], now);
  expect(repeated).toMatchObject({ kind: "accepted", alreadyExisted: true });
  expect(await store.countAhead(queued)).toBe(0);
  const demand = await store.readDemand(now);
  expect(demand.reduce((sum, kind) => sum + kind.queued, 0)).toBe(2);
  expect(await store.finishAttempts([running], now + 1_000)).toEqual(["ok"]);
  const assigned = await store.claimNext(session.workerId, claim, now + 2_000);
  expect(assigned.map(({ jobId }) => jobId)).toEqual([queued]);
  expect((await store.findWorker(session.workerId))?.jobs).toEqual([queued]);
});

test("a store in Redis is copied as it is", async () => {
  const place = newInstance();
  const original = await openRedisStore(place);
  await fillStore(original);
  await original[Symbol.asyncDispose]();
  const from = forTest(await openRedisDump(place));
  const to = forTest(openSqliteDump(join(newFolder(), "hodei.db")));
  expect(await to.load(from.dump())).toMatchObject({ jobs: 5, workers: 2, auditEntries: 2 });
  expect(await collect(to)).toEqual(await collect(from));
});

test("refuses an instance that is not empty or in use, and leaves nothing of a dump that is not whole", async () => {
  const place = newInstance();
  const dump = forTest(await openRedisDump(place));
  const records: DumpRecord[] = [{ kind: "head", format: 1 }];
  const token = { id: "t", subject: "s", tenant: "t", role: "viewer", createdAt: 1 } as const;
  const rest = { expiresAt: undefined, revokedAt: undefined };
  records.push({ kind: "token", token: { ...token, ...rest }, secretHash: new Uint8Array(32) });
  await expect(dump.load(stream(records))).rejects.toThrow("the dump is not whole");
  expect(await collect(dump)).toHaveLength(2);
  await dump.load(stream([...records, { kind: "foot", records: 1 }]));
  const refused = expect.objectContaining({ code: "failed_precondition" });
  await expect(dump.load(stream(records))).rejects.toThrow(refused);
  await using store = await openRedisStore(place);
  expect((await store.findToken("t"))?.token).toMatchObject(token);
  await using _follow = await store.follow?.(() => undefined);
  await expect(openRedisDump(place)).rejects.toThrow("is in use");
});
