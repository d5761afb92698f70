import { Redis } from "ioredis";
import { afterEach, describe, expect, test, vi } from "vitest";
import { openRedisStore } from "#store/redis/open.ts";
import type { ReplicaStore, Store } from "#store/store.ts";
import { claimOf, dawn, day, newJob, outcome, readyWorker } from "../conformance/store/make.ts";
import { submit } from "../conformance/store/job-facts.ts";
import { Proxy } from "../fake/proxy.ts";
import { freePort, RedisServer } from "./redis-server.ts";

const parts: AsyncDisposable[] = [];
afterEach(async () => {
  for (const part of parts.splice(0).reverse()) await part[Symbol.asyncDispose]();
});

async function start<Part extends AsyncDisposable & { start(): Promise<Part> }>(part: Part) {
  parts.push(part);
  return part.start();
}

function replicasOf(store: Store): ReplicaStore {
  if (store.replicas === undefined) throw new Error("the store is not shared");
  return store.replicas;
}

interface Pair {
  /** What the store said that redis has lost, in batches. */
  readonly lost: number[];
  readonly store: Store;
  /** From now on the replica gets nothing any more; nobody notices. */
  readonly part: () => Promise<void>;
  /** The primary dies, and the replica takes its place. */
  readonly failOver: () => Promise<void>;
  readonly restart: () => Promise<void>;
}

async function startPair(): Promise<Pair> {
  const port = await freePort();
  const primary = await start(
    new RedisServer("--port", String(port), "--repl-diskless-sync-delay", "0"),
  );
  const replica = await start(new RedisServer("--replicaof", `127.0.0.1 ${port}`));
  const proxy = new Proxy(primary.path);
  parts.push(proxy);
  await proxy.listen();
  const lost: number[] = [];
  const onLost = (batches: number) => void lost.push(batches);
  const store = await openRedisStore({ url: proxy.url, instance: "test", onLost });
  parts.push(store);
  const [first, second] = [new Redis(primary.path), new Redis(replica.path)];
  first.on("error", () => undefined);
  parts.push({
    [Symbol.asyncDispose]: async () => [first, second].forEach((client) => client.disconnect()),
  });
  const offset = async (client: Redis, name: string) =>
    new RegExp(`${name}:(\\d+)`).exec(await client.info("replication"))?.[1];
  return {
    store,
    lost,
    part: async () => {
      await vi.waitUntil(async () => {
        const [sent, taken] = [
          await offset(first, "master_repl_offset"),
          await offset(second, "slave_repl_offset"),
        ];
        return sent !== undefined && sent !== "0" && sent === taken;
      }, 30_000);
      await second.replicaof("127.0.0.1", 1);
    },
    restart: async () => {
      await primary.kill();
      await primary.start();
      await vi.waitUntil(() => store.listLiveWorkers().then(Boolean, () => false), 20_000);
    },
    failOver: async () => {
      await primary.kill();
      await second.call("REPLICAOF", "NO", "ONE");
      proxy.target = replica.path;
      await vi.waitUntil(() => store.listLiveWorkers().then(Boolean, () => false), 20_000);
    },
  };
}

const end = {
  outcome: outcome(),
  move: "succeed",
  next: { kind: "over", expiresAt: dawn + day },
  expiresAt: dawn + day,
} as const;

describe("a failover of redis that loses what was acknowledged last", () => {
  test("loses just that, and lets no attempt of it count", async () => {
    const { store, part, failOver } = await startPair();
    const kept = await submit(store);
    const worker = await readyWorker(store, 1);
    await part();
    const [lost] = await store.claimNext(worker, claimOf(1), dawn);
    if (lost === undefined) throw new Error("nothing was claimed");
    const gone = await submit(store, { name: "gone" }, dawn + 1);
    await failOver();
    expect(await store.findJob(gone)).toBeUndefined();
    expect(await store.findJob(kept)).toMatchObject({ state: "queued", attempts: [] });
    const start = { ...lost, startedAt: dawn, deadline: dawn + day };
    expect(await store.startAttempts([start], dawn)).toEqual(["fenced"]);
    const [given] = await store.claimNext(worker, claimOf(1), dawn);
    if (given === undefined) throw new Error("nothing was claimed");
    expect(given).toMatchObject({ jobId: kept, attemptNumber: 1 });
    expect(given.attemptId).not.toBe(lost.attemptId);
    const said = store.finishAttempts(
      [
        { ...lost, ...end },
        { ...given, ...end },
      ],
      dawn,
    );
    expect(await said).toEqual(["fenced", "ok"]);
    expect((await store.findJob(kept))?.attempts).toHaveLength(1);
  });

  test("is found out by who was acknowledged what is lost, once", async () => {
    const { store, part, failOver, lost } = await startPair();
    await submit(store);
    await part();
    for (const name of ["a", "b", "c"]) await submit(store, { name });
    // Changes nothing, so nothing of it can be lost.
    await store.recordStages([], dawn);
    await failOver();
    await vi.waitUntil(() => lost.length > 0);
    expect(lost).toEqual([3]);
    expect(await store.readDemand(dawn)).toMatchObject([{ queued: 1 }]);
  });

  test("is none when the replica had everything, or the same server comes back", async () => {
    const { store, part, failOver, lost, restart } = await startPair();
    await submit(store);
    await restart();
    await submit(store);
    await part();
    await failOver();
    await submit(store);
    expect(await store.readDemand(dawn)).toMatchObject([{ queued: 3 }]);
    expect(lost).toEqual([]);
  });

  test("never gives a job the id of one that is lost", async () => {
    const { store, part, failOver } = await startPair();
    await part();
    const lost = await store.submitJobs(Array(50).fill(newJob()), dawn);
    await failOver();
    const next = await store.submitJobs(Array(50).fill(newJob()), dawn + 1);
    const ids = [...lost, ...next].map((said) => said.kind === "accepted" && said.id);
    expect(new Set(ids).size).toBe(100);
  });

  test("never gives a term that is lost to another leader", async () => {
    const { store, part, failOver } = await startPair();
    const replicas = replicasOf(store);
    await replicas.lead("r1", 60_000);
    await part();
    await replicas.resign("r1");
    const lost = await replicas.lead("r2", 60_000);
    await failOver();
    await replicas.resign("r1");
    const next = await replicas.lead("r3", 60_000);
    expect(next.leader).toBe("r3");
    expect(next.term).toBeGreaterThan(lost.term);
    const late = replicas.ledBy(lost.term).submitJobs([newJob()], dawn);
    await expect(late).rejects.toMatchObject({ code: "aborted" });
  });
});
