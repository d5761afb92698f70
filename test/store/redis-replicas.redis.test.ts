import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { openRedisStore } from "#store/redis/open.ts";
import type { ReplicaStore, Store } from "#store/store.ts";
import { replicaConformance } from "../conformance/replicas.ts";
import { dawn, newJob, readyWorker, workerId } from "../conformance/store/make.ts";
import { RedisServer } from "./redis-server.ts";

const server = new RedisServer();
let instances = 0;
beforeAll(() => server.start());
afterAll(() => server[Symbol.asyncDispose]());

replicaConformance("redis", {
  open: () => openRedisStore({ url: server.url, instance: `replicas-${instances}` }),
  renew: () => void instances++,
});

async function openReplica(instance: string): Promise<{ store: Store; replicas: ReplicaStore }> {
  const store = await openRedisStore({ url: server.url, instance });
  onTestFinished(() => store[Symbol.asyncDispose]());
  if (store.replicas === undefined) throw new Error("the store is not shared");
  return { store, replicas: store.replicas };
}

test("terms, positions and who lives go on where they were when redis comes back", async () => {
  const first = await openReplica("restart");
  await readyWorker(first.store, 1);
  await readyWorker(first.store, 2);
  const lead = await first.replicas.lead("r1", 60_000);
  const me = { id: "r1", address: "here:1", startedAt: dawn };
  await first.replicas.beat(me, 60_000);
  await first.replicas.hear([workerId(1)]);
  const heard = await first.replicas.listHeard(0, 9);
  await server.kill();
  await server.start();
  const { replicas } = await openReplica("restart");
  expect(await replicas.lead("r2", 60_000)).toEqual(lead);
  const other = { id: "r2", address: "there:1", startedAt: dawn + 1 };
  expect(await replicas.beat(other, 60_000)).toEqual([me, other]);
  await replicas.hear([workerId(2)]);
  const next = await replicas.listHeard(heard.last, 9);
  expect(next.ids).toEqual([workerId(2)]);
  await replicas.resign("r1");
  expect((await replicas.lead("r2", 60_000)).term).toBeGreaterThan(lead.term);
});

test("a position is not given again when redis has lost the counter", async () => {
  const { store, replicas } = await openReplica("lost");
  await readyWorker(store, 1);
  const lead = await replicas.lead("r1", 60_000);
  await replicas.hear([workerId(1)]);
  const heard = await replicas.listHeard(0, 9);
  // As after a failover that lost its last seconds.
  const redis = new Redis(server.path);
  await redis.del("hodei:{lost}:hn", "hodei:{lost}:heard", "hodei:{lost}:lead");
  redis.disconnect();
  await replicas.hear([workerId(1)]);
  expect((await replicas.listHeard(heard.last, 9)).ids).toEqual([workerId(1)]);
  expect((await replicas.lead("r2", 60_000)).term).toBeGreaterThan(lead.term);
});

test("a large spec of a submit that was refused is not kept", async () => {
  const { store, replicas } = await openReplica("large");
  const { term } = await replicas.lead("r1", 60_000);
  await replicas.resign("r1");
  const large = newJob({ spec: new Uint8Array(100_000) });
  const submit = replicas.ledBy(term).submitJobs([large], dawn);
  await expect(submit).rejects.toMatchObject({ code: "aborted" });
  await store.expire(dawn, 10);
  const redis = new Redis(server.path);
  expect(await redis.keys("hodei:spec:large:*")).toEqual([]);
  redis.disconnect();
});
