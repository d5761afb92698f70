import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { NewBatch } from "#logstore/logstore.ts";
import { readAll, Writer } from "../conformance/log-model.ts";
import { RedisServer } from "../store/redis-server.ts";
import { later } from "./folder.ts";
import { Shared } from "./redis-ground.ts";

const server = new RedisServer();
beforeAll(() => server.start());
afterAll(() => server[Symbol.asyncDispose]());

const unavailable = expect.objectContaining({ code: "unavailable" });

async function ownServer(): Promise<RedisServer> {
  const own = await new RedisServer().start();
  onTestFinished(() => own[Symbol.asyncDispose]());
  return own;
}

/** Tries again while it is answered unavailable. */
async function until<Value>(call: () => Promise<Value>, isFine: string[] = []) {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const { code } = error as { readonly code?: string };
      if (isFine.includes(code ?? "")) return undefined;
      expect(error).toEqual(unavailable);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

test("while Redis stands still everything is answered unavailable, and what it did after all counts once", async () => {
  const own = await ownServer();
  const shared = new Shared(own);
  const store = await shared.open({ commandTimeoutMs: 200 });
  const writer = new Writer();
  await store.append(writer.attempt, writer.lines("before\n"));
  own.signal("SIGSTOP");
  const batches = Array.from({ length: 5 }, (_, at) => writer.lines(`${at}\n`));
  const outcomes = await Promise.allSettled(
    batches.map((batch) => store.append(writer.attempt, batch)),
  );
  for (const outcome of outcomes) expect(outcome).toMatchObject({ status: "rejected" });
  const [first] = outcomes;
  expect(first).toMatchObject({ reason: { code: "unavailable" } });
  await expect(store.findLog(writer.attempt)).rejects.toThrow(unavailable);
  await expect(readAll(store, writer.attempt)).rejects.toThrow(unavailable);
  await expect(store.end(writer.attempt, { expiresAt: later })).rejects.toThrow(unavailable);
  own.signal("SIGCONT");
  // Whether the end came through is not known, and does not matter to what came before it.
  for (const batch of batches) await until(() => store.append(writer.attempt, batch), ["aborted"]);
  await until(() => store.end(writer.attempt, { expiresAt: later }));
  const seen = await until(() => readAll(store, writer.attempt));
  expect(seen).toEqual(writer.records.slice(0, seen?.length));
});

test("everything that was acknowledged is there after kill -9 of Redis, and followers go on", async () => {
  const own = await ownServer();
  const shared = new Shared(own);
  const [store, other] = [await shared.open(), await shared.open()];
  const writer = new Writer();
  await store.append(writer.attempt, writer.lines("one\n"));
  const following = readAll(other, writer.attempt, { follow: true }).catch(
    (error: unknown) => error,
  );
  const send = (batch: NewBatch) => until(() => store.append(writer.attempt, batch));
  for (let round = 0; round < 3; round++) {
    for (let at = 0; at < 20; at++) await send(writer.lines(`${round} ${at}\n`));
    const killed = own.kill();
    const late = send(writer.lines("sent while it was gone\n"));
    await killed;
    await own.start();
    await late;
  }
  await store.end(writer.attempt, { expiresAt: later });
  expect(await until(() => readAll(other, writer.attempt))).toEqual(writer.records);
  const followed = await following;
  // One that was asking just then is told so, and resumes with its cursor.
  if (Array.isArray(followed)) expect(followed).toEqual(writer.records);
  else expect(followed).toEqual(unavailable);
});

test("a full Redis refuses and keeps nothing of a batch, which may be sent again", async () => {
  const own = await ownServer();
  const shared = new Shared(own);
  const store = await shared.open();
  const writer = new Writer();
  await store.append(writer.attempt, writer.lines("one\n"));
  await shared.redis.config("SET", "maxmemory", "1mb");
  const batch = writer.lines("two\n");
  await expect(store.append(writer.attempt, batch)).rejects.toThrow(
    expect.objectContaining({ code: "resource_exhausted" }),
  );
  expect(await readAll(store, writer.attempt)).toHaveLength(1);
  await shared.redis.config("SET", "maxmemory", "0");
  await store.append(writer.attempt, batch);
  expect(await readAll(store, writer.attempt)).toEqual(writer.records);
});

test("two processes that send the same batches at the same time store each once", async () => {
  const shared = new Shared(server);
  const stores = [await shared.open({ liveBytesPerLog: 200 }), await shared.open()];
  const writer = new Writer();
  const batches = Array.from({ length: 300 }, (_, at) => writer.lines(`line ${at}\n`));
  const sendAll = async (store: (typeof stores)[number]) => {
    const sent = batches.map((batch) => store.append(writer.attempt, batch));
    for (const [at, outcome] of (await Promise.allSettled(sent)).entries()) {
      // What was sent behind a batch that the other one had added is sent again, as an agent does it.
      const batch = batches[at];
      if (outcome.status === "rejected" && batch) await store.append(writer.attempt, batch);
    }
  };
  await Promise.all(stores.map(sendAll));
  for (const store of stores) expect(await readAll(store, writer.attempt)).toEqual(writer.records);
});

test("a follower learns of what it was not told of", async () => {
  const shared = new Shared(server);
  const [store, other] = [await shared.open(), await shared.open()];
  const writer = new Writer();
  await store.append(writer.attempt, writer.lines("one\n"));
  const following = readAll(other, writer.attempt, { follow: true });
  const news = `hodei:log:${shared.instance}:{${writer.attempt}}:news`;
  await expect.poll(async () => (await shared.redis.pubsub("NUMSUB", news))[1]).toBe(1);
  // Nothing is told on that connection any more, and it does not know.
  await shared.redis.call("CLIENT", "KILL", "TYPE", "pubsub");
  await store.append(writer.attempt, writer.lines("two\n"));
  await store.end(writer.attempt, { expiresAt: later });
  expect(await following).toEqual(writer.records);
});

test("any number of followers need one connection", async () => {
  const shared = new Shared(server);
  const store = await shared.open();
  const writers = Array.from({ length: 20 }, () => new Writer());
  const connections = async () =>
    (await shared.redis.info("clients")).match(/connected_clients:(\d+)/)?.[1];
  const following = writers.flatMap(({ attempt }) =>
    Array.from({ length: 5 }, () => readAll(store, attempt, { follow: true })),
  );
  for (const writer of writers) await store.append(writer.attempt, writer.lines("one\n"));
  const before = Number(await connections());
  const first = readAll(store, new Writer().attempt, { follow: false });
  await first;
  expect(Number(await connections())).toBe(before);
  for (const writer of writers) await store.end(writer.attempt, { expiresAt: later });
  const seen = await Promise.all(following);
  for (const [at, one] of seen.entries()) expect(one).toEqual(writers[Math.floor(at / 5)]?.records);
  expect(before).toBeLessThan(20);
});

test("what Redis lost although it had acknowledged it is a gap, and the log goes on", async () => {
  const shared = new Shared(server);
  const store = await shared.open();
  const writer = new Writer();
  await store.append(writer.attempt, writer.lines("one\n"));
  const key = `hodei:log:${shared.instance}:{${writer.attempt}}`;
  const head = await shared.redis.hgetBuffer(key, "h");
  await store.append(writer.attempt, writer.lines("two\n"));
  await store.append(writer.attempt, writer.lines("three\n"));
  // As a power cut with appendfsync everysec leaves it.
  await shared.redis.hset(key, "h", head ?? "");
  await shared.redis.xtrim(`${key}:stream`, "MAXLEN", 0);
  await shared.redis.del(`${key}:stream`);
  await store.append(writer.attempt, writer.lines("four\n"));
  const seen = await readAll(store, writer.attempt);
  expect(seen.map(({ text }) => text)).toEqual(["gap:corrupt:3:14", "four\n"]);
});
