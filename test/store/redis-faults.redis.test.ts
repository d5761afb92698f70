import { Redis } from "ioredis";
import { afterEach, describe, expect, test, vi } from "vitest";
import { openRedisStore } from "#store/redis/open.ts";
import type { Store } from "#store/store.ts";
import {
  anyJob,
  claimOf,
  dawn,
  day,
  newJob,
  outcome,
  readyWorker,
} from "../conformance/store/make.ts";
import { submit } from "../conformance/store/job-facts.ts";
import { Proxy } from "../fake/proxy.ts";
import { freePort, RedisServer } from "./redis-server.ts";

const parts: AsyncDisposable[] = [];
afterEach(async () => {
  for (const part of parts.splice(0).reverse()) await part[Symbol.asyncDispose]();
});

async function startServer(...settings: string[]): Promise<RedisServer> {
  const server = new RedisServer(...settings);
  parts.push(server);
  return server.start();
}

async function openStore(url: string, change: object = {}): Promise<Store> {
  const store = await openRedisStore({ url, instance: "test", ...change });
  parts.push(store);
  return store;
}

async function startProxy(server: RedisServer): Promise<Proxy> {
  const proxy = new Proxy(server.path);
  parts.push(proxy);
  return proxy.listen();
}

const unavailable = { code: "unavailable" };

/** Takes a step whose answer is lost, and then again. */
function twiceThrough(proxy: Proxy, store: Store) {
  return async <Answer>(step: () => Promise<Answer>): Promise<Answer> => {
    proxy.isDeaf = true;
    await expect(step()).rejects.toMatchObject(unavailable);
    proxy.heal();
    await vi.waitUntil(() => store.listLiveWorkers().then(Boolean, () => false), 10_000);
    return step();
  };
}

const end = {
  outcome: outcome(),
  move: "succeed",
  next: { kind: "over", expiresAt: dawn + day },
  expiresAt: dawn + day,
} as const;

describe("redis that fails", () => {
  test("loses nothing that it acknowledged when it is killed between the steps", async () => {
    const server = await startServer();
    const store = await openStore(server.url);
    const worker = await readyWorker(store, 1);
    const acknowledged: string[] = [];
    const succeeded: string[] = [];
    for (let round = 0; round < 5; round++) {
      const calls = Array.from({ length: 40 }, async (_, at) => {
        const id = await submit(store, { name: `${round}-${at}` });
        acknowledged.push(id);
        const [given] = await store.claimNext(worker, claimOf(1), dawn);
        if (given === undefined) return;
        const [said] = await store.finishAttempts([{ ...given, ...end }], dawn);
        if (said === "ok") succeeded.push(given.jobId);
      });
      // Somewhere in the middle of them.
      const enough = vi.waitUntil(() => acknowledged.length >= round * 40 + 10, { interval: 0 });
      await Promise.race([enough, Promise.all(calls)]).catch(() => undefined);
      await server.kill();
      await Promise.allSettled(calls);
      await server.start();
      await vi.waitUntil(() => store.listLiveWorkers().then(Boolean, () => false), 10_000);
    }
    const fresh = await openStore(server.url);
    expect(acknowledged.length).toBeGreaterThan(40);
    for (const id of acknowledged) expect(await fresh.findJob(id as never)).toBeDefined();
    for (const id of succeeded) {
      expect(await fresh.findJob(id as never)).toMatchObject({ state: "succeeded" });
    }
    const [demand] = await fresh.readDemand(dawn);
    const rest = await fresh.claimNext(await readyWorker(fresh, 2), claimOf(900), dawn);
    expect(rest.length).toBe(demand?.queued ?? 0);
  });

  test("is unavailable while it is stalled, and fine again afterwards", async () => {
    const server = await startServer();
    const store = await openStore(server.url, { commandTimeoutMs: 300 });
    await submit(store);
    server.signal("SIGSTOP");
    const calls = [store.submitJobs([newJob()], dawn), store.readDemand(dawn)];
    for (const call of calls) await expect(call).rejects.toMatchObject(unavailable);
    await expect(store.listLiveWorkers()).rejects.toMatchObject(unavailable);
    const other = { url: server.url, instance: "other", commandTimeoutMs: 300 };
    await expect(openRedisStore(other)).rejects.toMatchObject(unavailable);
    server.signal("SIGCONT");
    await vi.waitUntil(() => store.readDemand(dawn).then(Boolean, () => false), 10_000);
    // What it had been asked meanwhile it may have done or not.
    const [demand] = await store.readDemand(dawn);
    expect(demand?.queued).toBeGreaterThanOrEqual(1);
  });

  test("is unavailable at once while it is gone, and when a store is opened", async () => {
    const server = await startServer();
    const store = await openStore(server.url);
    await server.kill();
    await expect(store.submitJobs([newJob()], dawn)).rejects.toMatchObject(unavailable);
    await expect(openRedisStore({ url: server.url, instance: "x" })).rejects.toMatchObject(
      unavailable,
    );
    await server.start();
    await vi.waitUntil(() => store.readDemand(dawn).then(Boolean, () => false), 10_000);
  });

  test("changes nothing twice when an answer is lost and the step is taken again", async () => {
    const server = await startServer();
    const proxy = await startProxy(server);
    const direct = await openStore(server.url);
    const store = await openStore(proxy.url, { commandTimeoutMs: 200 });
    const twice = twiceThrough(proxy, store);
    const worker = await readyWorker(store, 1);
    const idempotency = { key: "k", specHash: new Uint8Array(32), expiresAt: dawn + day };
    const [first] = await twice(() => store.submitJobs([newJob({ idempotency })], dawn));
    expect(first).toMatchObject({ kind: "accepted", alreadyExisted: true });
    await submit(direct);
    const claim = claimOf(1);
    const given = await twice(() => store.claimNext(worker, claim, dawn));
    expect(given).toMatchObject([{ attemptId: claim.attemptIds[0], attemptNumber: 1 }]);
    expect(await direct.findWorker(worker)).toMatchObject({ attempts: 1 });
    const [one] = given;
    if (one === undefined) throw new Error("nothing was claimed");
    const start = { ...one, startedAt: dawn, deadline: dawn + day };
    expect(await twice(() => store.startAttempts([start], dawn))).toEqual(["ok"]);
    expect(await twice(() => store.finishAttempts([{ ...one, ...end }], dawn))).toEqual(["repeat"]);
    expect(await direct.findJob(one.jobId)).toMatchObject({ version: 4, state: "succeeded" });
    expect(await direct.listEvents(one.jobId, 0, 99)).toHaveLength(4);
  });

  test("changes no lead twice when an answer is lost and the step is taken again", async () => {
    const server = await startServer();
    const proxy = await startProxy(server);
    const direct = await openStore(server.url);
    const store = await openStore(proxy.url, { commandTimeoutMs: 200 });
    const { replicas } = store;
    if (replicas === undefined) throw new Error("the store is not shared");
    const twice = twiceThrough(proxy, store);
    const lost = await twice(() => replicas.lead("r1", 60_000));
    expect(await direct.replicas?.lead("r2", 60_000)).toEqual(lost);
    const me = { id: "r1", address: "here:1", startedAt: dawn };
    expect(await twice(() => replicas.beat(me, 60_000))).toEqual([me]);
    const worker = await readyWorker(store, 1);
    expect(await twice(() => store.recordHello(worker, { slots: 1, hostname: "" }))).toBe(2);
    await twice(() => replicas.hear([worker]));
    expect((await replicas.listHeard(0, 9)).ids).toEqual([worker]);
    await twice(() => replicas.resign("r1"));
    const next = await direct.replicas?.lead("r2", 60_000);
    expect(next?.leader).toBe("r2");
    await twice(() => replicas.leave("r1"));
    expect(await direct.replicas?.lead("r2", 60_000)).toEqual(next);
  });

  test("is said to be full when it takes no more, and nothing was changed", async () => {
    const server = await startServer("--maxmemory", "8mb");
    const store = await openStore(server.url);
    const large = newJob({ spec: new Uint8Array(60_000) });
    const fill = async () => {
      for (;;) await store.submitJobs(Array(10).fill(large), dawn);
    };
    await expect(fill()).rejects.toMatchObject({ code: "resource_exhausted" });
    const [demand] = await store.readDemand(dawn);
    expect((demand?.queued ?? 1) % 10).toBe(0);
  });
});

describe("redis that is not safe", () => {
  test.for([
    ["--appendonly", "no"],
    ["--maxmemory-policy", "allkeys-lru"],
  ])("is refused unless it is allowed: %s %s", async (settings) => {
    const server = await startServer(...settings);
    const open = openRedisStore({ url: server.url, instance: "test" });
    await expect(open).rejects.toMatchObject({ code: "failed_precondition" });
    const store = await openStore(server.url, { allowsUnsafe: true });
    await submit(store);
  });

  test("acknowledges nothing without a replica that is to have it, and still answers", async () => {
    const server = await startServer();
    const store = await openStore(server.url, { durability: "replicated" });
    await expect(store.submitJobs([newJob()], dawn)).rejects.toMatchObject(unavailable);
    expect(await store.listLiveWorkers()).toEqual([]);
  });

  test("with a replica each step waits for it", async () => {
    const port = await freePort();
    const server = await startServer("--port", String(port));
    const replica = await startServer("--replicaof", `127.0.0.1 ${port}`);
    const wish = { url: server.url, instance: "test", durability: "replicated" } as const;
    const opened = await openRedisStore(wish);
    parts.push(opened);
    // It takes a while until the replica has come.
    const id = await vi.waitUntil(() => submit(opened).catch(() => undefined), 30_000);
    const reader = new Redis(replica.path);
    expect(await reader.hexists("hodei:{test}:s", id)).toBe(1);
    reader.disconnect();
    await replica.kill();
    await expect(opened.submitJobs([newJob()], dawn)).rejects.toMatchObject(unavailable);
  });
});

describe("an instance in redis", () => {
  test("keeps large specs apart, and forgets them with their jobs", async () => {
    const server = await startServer();
    const redis = new Redis(server.path);
    const keys = () => redis.keys("hodei:spec:*");
    const store = await openStore(server.url);
    const spec = new Uint8Array(100_000).fill(7);
    const large = newJob({ spec, maxQueued: 2 });
    const said = await store.submitJobs([large, large, large], dawn);
    expect(said.map(({ kind }) => kind)).toEqual(["accepted", "accepted", "quota"]);
    expect(await store.expire(dawn, 100)).toBe(0);
    expect(await keys()).toHaveLength(2);
    const { rows } = await store.listJobs(anyJob);
    expect(rows.map((job) => job.spec)).toEqual([spec, spec]);
    const given = await store.claimNext(await readyWorker(store, 1), claimOf(2), dawn);
    expect(given.map((one) => one.spec)).toEqual([spec, spec]);
    for (const one of given) await store.finishAttempts([{ ...one, ...end }], dawn);
    expect(await store.expire(dawn + day, 100)).toBe(2);
    expect(await keys()).toEqual([]);
    redis.disconnect();
  });

  test("is one of several, which know nothing of each other", async () => {
    const server = await startServer();
    const one = await openStore(server.url, { instance: "one" });
    const two = await openStore(server.url, { instance: "two" });
    const id = await submit(one);
    expect(await two.findJob(id)).toBeUndefined();
    expect(await two.readDemand(dawn)).toEqual([]);
  });

  test("gives no job twice to claims through several stores at once", async () => {
    const server = await startServer();
    const stores = await Promise.all([1, 2, 3].map(() => openStore(server.url)));
    const [first] = stores;
    if (first === undefined) throw new Error("there is no store");
    await first.submitJobs(Array(300).fill(newJob({ maxQueued: 1_000 })), dawn);
    const claims = stores.map(async (store, at) => {
      const worker = await readyWorker(store, at + 1);
      const ids: string[] = [];
      for (;;) {
        const given = await store.claimNext(worker, claimOf(7), dawn);
        if (given.length === 0) return ids;
        ids.push(...given.map((one) => one.jobId));
      }
    });
    const ids = (await Promise.all(claims)).flat();
    expect(ids).toHaveLength(300);
    expect(new Set(ids).size).toBe(300);
  });

  test("tells of changes, whichever store made them", async () => {
    const server = await startServer();
    const one = await openStore(server.url);
    const two = await openStore(server.url);
    const heard: string[] = [];
    const following = await two.follow?.(({ kind, id }) => heard.push(`${kind} ${id}`));
    if (following !== undefined) parts.push(following);
    const id = await submit(one);
    const worker = await readyWorker(one, 1);
    await one.claimNext(worker, claimOf(1), dawn);
    const wish = { reason: "", actor: "ada", deadline: dawn + day, expiresAt: dawn + day };
    await one.cancelJob(id, wish, dawn);
    await vi.waitUntil(() => heard.includes(`cancel ${id}`));
    expect(heard).toEqual(expect.arrayContaining([`job ${id}`, "class small", `worker ${worker}`]));
  });
});
