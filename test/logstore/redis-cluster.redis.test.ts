import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { LogStore } from "#logstore/logstore.ts";
import { slotOf } from "#logstore/redis/slot.ts";
import { readAll, Writer } from "../conformance/log-model.ts";
import { type Member, RedisCluster, startSecureCluster } from "../store/redis-cluster.ts";
import { freePort, RedisServer } from "../store/redis-server.ts";
import { later } from "./folder.ts";
import { Shared } from "./redis-ground.ts";

const cluster = new RedisCluster();
beforeAll(async () => {
  await cluster.start(3);
});
afterAll(() => cluster[Symbol.asyncDispose]());

const unavailable = expect.objectContaining({ code: "unavailable" }) as Error;

const codeOf = (error: unknown) => (error as { readonly code?: string }).code ?? String(error);
const keyOf = ({ instance }: Shared, { attempt }: Writer) => `hodei:log:${instance}:{${attempt}}`;

async function ownCluster(...settings: readonly string[]): Promise<RedisCluster> {
  const own = new RedisCluster(settings);
  onTestFinished(() => own[Symbol.asyncDispose]());
  return own.start(3);
}

/** A log for each server, in the order of the servers. */
async function writersOf(own: RedisCluster, shared: Shared): Promise<readonly Writer[]> {
  const found = new Map<Member, Writer>();
  while (found.size < own.members.length) {
    const writer = new Writer();
    found.set(await own.ownerOf(keyOf(shared, writer)), writer);
  }
  return own.members.map((member) => found.get(member) ?? new Writer());
}

async function appendLines(store: LogStore, writer: Writer, count: number): Promise<void> {
  const batches = Array.from({ length: count }, (_, at) => writer.lines(`line ${at}\n`));
  await Promise.all(batches.map((batch) => store.append(writer.attempt, batch)));
}

test("a slot is computed as the server does it", async () => {
  const client = cluster.members[0]?.client;
  const keys = ["", "a", "{}", "{}b", "a{b}c", "a{b}{c}", "{{a}}", "a{b", "a}b{c}", "123456789"];
  const long = Array.from({ length: 50 }, (_, at) => `hodei:log:x:{${new Writer().attempt}}:${at}`);
  for (const key of [...keys, ...long]) {
    expect([key, slotOf(key)]).toEqual([key, await client?.cluster("KEYSLOT", key)]);
  }
});

test("logs are spread over all servers, and forgotten on all of them", async () => {
  const shared = new Shared(cluster);
  const store = await shared.open();
  const writers = Array.from({ length: 60 }, () => new Writer());
  await Promise.all(writers.map((writer) => appendLines(store, writer, 3)));
  const count = async () => {
    const keys = cluster.members.map(({ client }) => client.keys(`hodei:log:${shared.instance}:*`));
    return (await Promise.all(keys)).map((found) => found.length);
  };
  for (const found of await count()) expect(found).toBeGreaterThan(0);
  await expect.poll(() => store.stats().openLogs).toBe(60);
  for (const writer of writers) {
    expect(await readAll(store, writer.attempt)).toEqual(writer.records);
    await store.end(writer.attempt, { expiresAt: later });
  }
  await store.expire(later + 1);
  expect(await store.expire(later + 1)).toBe(60);
  expect(await count()).toEqual([0, 0, 0]);
  await expect.poll(() => store.stats()).toMatchObject({ openLogs: 0, storedBytes: 0 });
});

test("while one server stands still only its own logs are unavailable", async () => {
  const own = await ownCluster("--cluster-require-full-coverage", "no");
  const shared = new Shared(own);
  const store = await shared.open({ commandTimeoutMs: 300 });
  const writers = await writersOf(own, shared);
  for (const writer of writers) await appendLines(store, writer, 1);
  const owner = await own.ownerOf(`hodei:{${shared.instance}}:logs:open`);
  const at = own.members.findIndex((member) => member !== owner);
  const [frozen, member] = [writers[at] ?? new Writer(), own.members[at]];
  member?.server.signal("SIGSTOP");
  onTestFinished(() => member?.server.signal("SIGCONT"));
  const late = frozen.lines("late\n");
  await expect(store.append(frozen.attempt, late)).rejects.toThrow(unavailable);
  await expect(readAll(store, frozen.attempt)).rejects.toThrow(unavailable);
  for (const writer of writers) {
    if (writer === frozen) continue;
    await appendLines(store, writer, 20);
    expect(await readAll(store, writer.attempt)).toEqual(writer.records);
    await store.end(writer.attempt, { expiresAt: later });
  }
  expect(store.stats().isWritable).toBe(true);
  member?.server.signal("SIGCONT");
  const isThere = () =>
    store.append(frozen.attempt, late).then(
      () => true,
      () => false,
    );
  await expect.poll(isThere, { timeout: 30_000 }).toBe(true);
  expect(await readAll(store, frozen.attempt)).toEqual(frozen.records);
});

test("a server that dies and whose replica takes its place has lost nothing, and followers go on", async () => {
  const own = await ownCluster();
  const shared = new Shared(own);
  const change = { durability: "replicated" } as const;
  for (const member of own.members.slice()) await own.addReplica(member);
  const [store, other] = [await shared.open(change), await shared.open(change)];
  const writer = new Writer();
  await appendLines(store, writer, 50);
  const follow = () => readAll(other, writer.attempt, { follow: true }).catch(codeOf);
  const following = follow();
  const owner = await own.ownerOf(keyOf(shared, writer));
  await owner.server.kill();
  const late = writer.lines("late\n");
  await expect(store.append(writer.attempt, late)).rejects.toThrow(unavailable);
  const outcome = () => store.append(writer.attempt, late).then(() => "there", codeOf);
  const isFound = () => own.ownerOf(keyOf(shared, writer)).then(Boolean, () => false);
  await expect.poll(isFound, { timeout: 60_000 }).toBe(true);
  expect(await own.ownerOf(keyOf(shared, writer))).not.toBe(owner);
  // The new primary has no replica of its own, as long as the old one is away.
  await owner.server.start();
  expect(await outcome()).toMatch(/^(unavailable|there)$/);
  await expect.poll(outcome, { timeout: 60_000 }).toBe("there");
  await appendLines(store, writer, 20);
  await store.end(writer.attempt, { expiresAt: later });
  const followed = await following;
  // One that asked just then is told so, and resumes with its cursor.
  expect(followed === "unavailable" ? await follow() : followed).toEqual(writer.records);
  expect(await readAll(store, writer.attempt)).toEqual(writer.records);
});

test("a slot that is given to another server is followed by those who write and those who read", async () => {
  const shared = new Shared(cluster);
  const [store, other] = [await shared.open(), await shared.open()];
  const writer = new Writer();
  await appendLines(store, writer, 10);
  const following = readAll(other, writer.attempt, { follow: true });
  const owner = await cluster.ownerOf(keyOf(shared, writer));
  const news = `${keyOf(shared, writer)}:news`;
  const listeners = async ({ client }: Member) => {
    const [, count] = (await client.call("PUBSUB", "SHARDNUMSUB", news)) as [string, number];
    return count;
  };
  await expect.poll(() => listeners(owner)).toBe(1);
  await cluster.moveSlot(keyOf(shared, writer));
  await appendLines(store, writer, 10);
  expect(await readAll(other, writer.attempt)).toEqual(writer.records);
  const next = await cluster.ownerOf(keyOf(shared, writer));
  expect(next).not.toBe(owner);
  await expect.poll(() => listeners(next), { timeout: 10_000 }).toBe(1);
  await store.end(writer.attempt, { expiresAt: later });
  expect(await following).toEqual(writer.records);
  // What belongs to all logs moves as well.
  await cluster.moveSlot(`hodei:{${shared.instance}}:logs:open`);
  const second = new Writer();
  await appendLines(store, second, 3);
  await store.end(second.attempt, { expiresAt: later });
  expect(await readAll(other, second.attempt)).toEqual(second.records);
});

test("a log's end that one server has and the note of which another has lost is noted again", async () => {
  const shared = new Shared(cluster);
  const store = await shared.open({ sealDelayMs: 3_600_000 });
  const writer = new Writer();
  await appendLines(store, writer, 1);
  await store.end(writer.attempt, { expiresAt: later });
  const note = (name: string) => `hodei:{${shared.instance}}:logs:${name}`;
  const noted = () =>
    Promise.all(["ended", "expiry"].map((name) => shared.redis.zcard(note(name))));
  expect(await noted()).toEqual([1, 1]);
  // As a failover to a replica that was behind leaves it.
  await shared.redis.zrem(note("ended"), writer.attempt);
  await shared.redis.zrem(note("expiry"), writer.attempt);
  await cluster.moveSlot(note("open"));
  await expect.poll(noted, { timeout: 20_000 }).toEqual([1, 1]);
  expect(await shared.redis.zscore(note("expiry"), writer.attempt)).toBe(String(later));
});

test("a cluster is refused of which one server may lose what it acknowledged", async () => {
  const own = await ownCluster();
  await own.members[1]?.client.config("SET", "appendonly", "no");
  const shared = new Shared(own);
  await expect(shared.open()).rejects.toMatchObject({
    code: "failed_precondition",
    message: expect.stringContaining("append-only file is off") as string,
  });
  await shared.open({ allowsUnsafe: true });
});

test("a cluster is found when nodes of its URL are away, and not when all are or none is of one", async () => {
  const port = await freePort();
  const single = await new RedisServer("--port", String(port)).start();
  onTestFinished(() => single[Symbol.asyncDispose]());
  const shared = new Shared(cluster);
  await expect(shared.open({ url: `redis+cluster://127.0.0.1:${port}` })).rejects.toMatchObject({
    code: "failed_precondition",
  });
  await expect(shared.open({ url: "redis+cluster://127.0.0.1:1" })).rejects.toThrow(unavailable);
  const store = await shared.open({ url: `redis+cluster://127.0.0.1:1,${cluster.hosts}` });
  const writer = new Writer();
  await appendLines(store, writer, 1);
  expect(await readAll(store, writer.attempt)).toEqual(writer.records);
});

test("logs are kept in a cluster over TLS, with a user and password", async () => {
  const { cluster: own, url, caFile } = await startSecureCluster();
  onTestFinished(() => own[Symbol.asyncDispose]());
  const shared = new Shared(cluster);
  const store = await shared.open({ url, caFile });
  const writers = await writersOf(own, shared);
  for (const writer of writers) {
    const following = readAll(store, writer.attempt, { follow: true });
    await appendLines(store, writer, 5);
    await store.end(writer.attempt, { expiresAt: later });
    expect(await following).toEqual(writer.records);
  }
});
