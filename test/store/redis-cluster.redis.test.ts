import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import type { DumpRecord, StoreDump } from "#store/dump.ts";
import { openRedisDump } from "#store/redis/dump.ts";
import { openRedisStore, type RedisStoreOptions } from "#store/redis/open.ts";
import type { Store } from "#store/store.ts";
import { replicaConformance } from "../conformance/replicas.ts";
import { storeConformance } from "../conformance/store.ts";
import {
  anyJob,
  claimOf,
  dawn,
  day,
  failure,
  newJob,
  readyWorker,
} from "../conformance/store/make.ts";
import { submit } from "../conformance/store/job-facts.ts";
import { fillStore } from "./filled.ts";
import { RedisCluster, startSecureCluster } from "./redis-cluster.ts";

const cluster = new RedisCluster();
let instances = 0;
beforeAll(async () => {
  await cluster.start(3);
});
afterAll(() => cluster[Symbol.asyncDispose]());

storeConformance("redis cluster", () => {
  return openRedisStore({ url: cluster.url, instance: `test-${++instances}` });
});

replicaConformance("redis cluster", {
  open: () => openRedisStore({ url: cluster.url, instance: `replicas-${instances}` }),
  renew: () => void instances++,
});

async function openStore(
  where: RedisCluster,
  instance: string,
  change: Partial<RedisStoreOptions> = {},
): Promise<Store> {
  const store = await openRedisStore({ url: where.url, instance, ...change });
  onTestFinished(() => store[Symbol.asyncDispose]());
  return store;
}

async function countSpecs(where: RedisCluster, instance: string): Promise<number[]> {
  const keys = where.members.map(({ client }) => client.keys(`hodei:spec:${instance}:*`));
  return (await Promise.all(keys)).map((found) => found.length);
}

async function collect(dump: StoreDump): Promise<DumpRecord[]> {
  const found: DumpRecord[] = [];
  for await (const record of dump.dump()) found.push(record);
  return found;
}

const large = (byte: number) => newJob({ spec: new Uint8Array(50_000).fill(byte) });

describe("an instance in a cluster", () => {
  test("spreads large specs over all servers, and forgets them with their jobs", async () => {
    const store = await openStore(cluster, "spread");
    await store.submitJobs(
      Array.from({ length: 60 }, (_, at) => large(at)),
      dawn,
    );
    for (const count of await countSpecs(cluster, "spread")) expect(count).toBeGreaterThan(0);
    const { rows } = await store.listJobs(anyJob);
    expect(rows.map(({ spec }) => spec[9]).toSorted((a, b) => (a ?? 0) - (b ?? 0))).toEqual(
      Array.from({ length: 60 }, (_, at) => at),
    );
    const given = await store.claimNext(await readyWorker(store, 1), claimOf(60), dawn);
    expect(given.map(({ spec }) => spec[9])).toEqual(Array.from({ length: 60 }, (_, at) => at));
    const over = { kind: "over", expiresAt: dawn } as const;
    const moves = given.map(({ jobId }) => {
      return { jobId, version: 2, move: "fail", failure, next: over } as const;
    });
    await store.moveJobs(moves, dawn);
    expect(await store.expire(dawn + 1, 1_000)).toBe(60);
    expect(await countSpecs(cluster, "spread")).toEqual([0, 0, 0]);
  });

  test("keeps the order of what was given in one turn, however large", async () => {
    const store = await openStore(cluster, "order");
    const worker = await readyWorker(store, 1);
    const huge = Array.from({ length: 8 }, (_, at) => ({
      ...large(at),
      spec: new Uint8Array(500_000).fill(at),
    }));
    const submitted = huge.map((job) => store.submitJobs([job], dawn));
    const claimed = store.claimNext(worker, claimOf(8), dawn);
    await Promise.all(submitted);
    expect((await claimed).map(({ spec }) => spec[0])).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test("forgets a large spec whose submit never came", async () => {
    const store = await openStore(cluster, "never");
    const quota = newJob({ spec: new Uint8Array(9_000), maxQueued: 0 });
    await store.submitJobs([quota], dawn);
    await store.expire(Date.now(), 10);
    expect(await countSpecs(cluster, "never")).toEqual([0, 0, 0]);
    // As of a server that died between the two.
    const owner = await cluster.ownerOf("hodei:{never}:put");
    await owner.client.zadd("hodei:{never}:put", Date.now(), "lost");
    const key = "hodei:spec:never:lost";
    await (await cluster.ownerOf(key)).client.set(key, "bytes");
    await store.expire(Date.now() + day / 2, 10);
    const specs = await countSpecs(cluster, "never");
    expect(specs.toSorted((one, other) => one - other)).toEqual([0, 0, 1]);
    await store.expire(Date.now() + 2 * day, 10);
    expect(await countSpecs(cluster, "never")).toEqual([0, 0, 0]);
    expect(await owner.client.exists("hodei:{never}:put")).toBe(0);
  });

  test("is copied as it is, and refused while somebody follows it", async () => {
    const store = await openStore(cluster, "original");
    await fillStore(store);
    await store.submitJobs([large(7)], dawn);
    const from = await openRedisDump({ url: cluster.url, instance: "original" });
    onTestFinished(() => from[Symbol.asyncDispose]());
    const to = await openRedisDump({ url: cluster.url, instance: "copy" });
    onTestFinished(() => to[Symbol.asyncDispose]());
    expect(await to.load(from.dump())).toMatchObject({ jobs: 6 });
    expect(await collect(to)).toEqual(await collect(from));
    const copy = await openStore(cluster, "copy");
    await using _following = await copy.follow?.(() => undefined);
    const again = openRedisDump({ url: cluster.url, instance: "copy" });
    await expect(again).rejects.toThrow("is in use");
  });

  test("goes on when the server that has it dies and another takes its place", async () => {
    const own = new RedisCluster();
    onTestFinished(() => own[Symbol.asyncDispose]());
    await own.start(3);
    const owner = await own.ownerOf("hodei:{move}:n");
    await own.addReplica(owner);
    const lost: number[] = [];
    const change = { durability: "replicated", onLost: (count: number) => void lost.push(count) };
    const store = await openStore(own, "move", change as Partial<RedisStoreOptions>);
    const heard: string[] = [];
    await using _following = await store.follow?.(({ kind, id }) => heard.push(`${kind} ${id}`));
    const small = await submit(store);
    await owner.server.kill();
    await expect(store.submitJobs([newJob()], dawn)).rejects.toMatchObject({ code: "unavailable" });
    await vi.waitUntil(() => store.findJob(small).then(Boolean, () => false), 60_000);
    await vi.waitUntil(() => heard.includes("missed "), 60_000);
    expect(lost).toEqual([]);
    expect(await store.readDemand(dawn)).toMatchObject([{ queued: 1 }]);
  });

  test("follows its slot when that is given to another server", async () => {
    const store = await openStore(cluster, "resharded");
    await submit(store);
    await cluster.moveSlot("hodei:{resharded}:n");
    await vi.waitUntil(() => submit(store).then(Boolean, () => false), 30_000);
    const [demand] = await store.readDemand(dawn);
    expect(demand?.queued).toBe(2);
  });
});

test("a cluster is found when nodes of its URL are away, and not when all are", async () => {
  const url = `redis+cluster://127.0.0.1:1,${cluster.hosts}`;
  const store = await openRedisStore({ url, instance: "seeds" });
  onTestFinished(() => store[Symbol.asyncDispose]());
  expect(await store.findJob(await submit(store))).toBeDefined();
  const nobody = openRedisStore({ url: "redis+cluster://127.0.0.1:1", instance: "seeds" });
  await expect(nobody).rejects.toMatchObject({ code: "unavailable" });
});

test("a cluster is reached over TLS, with a user and password", async () => {
  const { cluster: own, url, caFile } = await startSecureCluster();
  onTestFinished(() => own[Symbol.asyncDispose]());
  const store = await openRedisStore({ url, instance: "secure", caFile });
  onTestFinished(() => store[Symbol.asyncDispose]());
  await store.submitJobs(
    Array.from({ length: 20 }, (_, at) => large(at)),
    dawn,
  );
  expect((await store.listJobs(anyJob)).rows).toHaveLength(20);
  const wrong = url.replace("p%40ss", "secret");
  const refused = openRedisStore({ url: wrong, instance: "secure", caFile });
  await expect(refused).rejects.toMatchObject({
    code: "unavailable",
    hint: expect.stringContaining("hodei:*") as string,
  });
});
