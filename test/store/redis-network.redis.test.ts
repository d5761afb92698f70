import { afterEach, describe, expect, test, vi } from "vitest";
import { openRedisStore } from "#store/redis/open.ts";
import type { Store } from "#store/store.ts";
import { dawn, newJob, readyWorker } from "../conformance/store/make.ts";
import { submit } from "../conformance/store/job-facts.ts";
import { Proxy } from "../fake/proxy.ts";
import { RedisServer } from "./redis-server.ts";

const parts: AsyncDisposable[] = [];
afterEach(async () => {
  for (const part of parts.splice(0).reverse()) await part[Symbol.asyncDispose]();
});

interface World {
  readonly server: RedisServer;
  readonly proxy: Proxy;
  /** Knows nothing of the network's faults. */
  readonly direct: Store;
  /** Goes through the proxy. */
  readonly store: Store;
}

async function startWorld(): Promise<World> {
  const server = new RedisServer();
  parts.push(server);
  await server.start();
  const proxy = new Proxy(server.path);
  parts.push(proxy);
  await proxy.listen();
  const direct = await openRedisStore({ url: server.url, instance: "test" });
  parts.push(direct);
  const store = await openRedisStore({ url: proxy.url, instance: "test", commandTimeoutMs: 300 });
  parts.push(store);
  return { server, proxy, direct, store };
}

async function follow(store: Store): Promise<string[]> {
  const heard: string[] = [];
  const following = await store.follow?.(({ kind, id }) => heard.push(`${kind} ${id}`));
  if (following === undefined) throw new Error("the store tells nothing");
  parts.push(following);
  return heard;
}

const unavailable = { code: "unavailable" };
const isMissed = (heard: string) => heard === "missed ";
const answers = (store: Store) => store.listLiveWorkers().then(Boolean, () => false);

describe("a network that fails", () => {
  test("tells a follower once that it missed something, each time that it listens again", async () => {
    const { proxy, direct, store } = await startWorld();
    const heard = await follow(store);
    for (const round of [1, 2]) {
      proxy.isShut = true;
      proxy.cut();
      const lost = await submit(direct);
      proxy.heal();
      await vi.waitUntil(() => heard.filter(isMissed).length === round, 20_000);
      const seen = await submit(direct);
      await vi.waitUntil(() => heard.includes(`job ${seen}`));
      expect(heard).not.toContain(`job ${lost}`);
    }
    expect(heard.filter(isMissed)).toHaveLength(2);
  });

  test("is found out by a follower when the connection is half open", async () => {
    const { proxy, direct, store } = await startWorld();
    const heard = await follow(store);
    proxy.freeze();
    const lost = await submit(direct);
    await vi.waitUntil(() => heard.some(isMissed), 30_000);
    expect(heard).not.toContain(`job ${lost}`);
    const seen = await submit(direct);
    await vi.waitUntil(() => heard.includes(`job ${seen}`));
  });

  test("makes steps unavailable while the connection is half open, until there is a new one", async () => {
    const { proxy, direct, store } = await startWorld();
    proxy.freeze();
    await expect(store.submitJobs([newJob()], dawn)).rejects.toMatchObject(unavailable);
    await vi.waitUntil(() => answers(store), 20_000);
    expect(await direct.readDemand(dawn)).toEqual([]);
  });

  test("makes steps unavailable while there is no connection", async () => {
    const { proxy, direct, store } = await startWorld();
    proxy.isShut = true;
    proxy.cut();
    await expect(store.submitJobs([newJob()], dawn)).rejects.toMatchObject(unavailable);
    await expect(store.readDemand(dawn)).rejects.toMatchObject(unavailable);
    proxy.heal();
    await vi.waitUntil(() => answers(store), 10_000);
    expect(await direct.readDemand(dawn)).toEqual([]);
  });

  test("that is slow keeps the order of steps, and answers each", async () => {
    const { proxy, direct, store } = await startWorld();
    proxy.delayMs = 40;
    const worker = readyWorker(store, 1);
    const ids = await Promise.all(
      Array.from({ length: 50 }, (_, at) => submit(store, { name: `${at}` })),
    );
    expect(ids.toSorted()).toEqual(ids);
    expect(await direct.findWorker(await worker)).toMatchObject({ state: "ready" });
  });

  test("that answers later than a step waits leaves its outcome open, and the next ones right", async () => {
    const { proxy, direct, store } = await startWorld();
    proxy.delayMs = 400;
    await expect(store.submitJobs([newJob({ name: "late" })], dawn)).rejects.toMatchObject(
      unavailable,
    );
    proxy.delayMs = 0;
    await vi.waitUntil(() => direct.readDemand(dawn).then((kinds) => kinds.length > 0), 10_000);
    await vi.waitUntil(() => answers(store), 10_000);
    const id = await submit(store, { name: "next" });
    // The late answer was not taken for that of a later step.
    expect(await store.findJob(id)).toMatchObject({ name: "next" });
    expect(await store.readDemand(dawn)).toMatchObject([{ queued: 2 }]);
  });
});
