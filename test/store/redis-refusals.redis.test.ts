import { Redis } from "ioredis";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterEach, describe, expect, test, vi } from "vitest";
import { openRedisStore } from "#store/redis/open.ts";
import type { Store } from "#store/store.ts";
import { claimOf, dawn, newJob, outcome, readyWorker } from "../conformance/store/make.ts";
import { submit } from "../conformance/store/job-facts.ts";
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

async function openStore(server: RedisServer): Promise<Store> {
  const store = await openRedisStore({ url: server.url, instance: "test" });
  parts.push(store);
  return store;
}

function openClient(server: RedisServer): Redis {
  const client = new Redis(server.path, { maxRetriesPerRequest: 0 });
  client.on("error", () => undefined);
  parts.push({ [Symbol.asyncDispose]: async () => client.disconnect() });
  return client;
}

interface Spoiling {
  readonly says: string;
  readonly code: "unavailable" | "resource_exhausted";
  /** Gives what makes it good again. */
  readonly spoil: (server: RedisServer) => Promise<() => Promise<unknown>>;
}

const cases: readonly Spoiling[] = [
  {
    says: "NOREPLICAS",
    code: "unavailable",
    spoil: async (server) => {
      const client = openClient(server);
      await client.config("SET", "min-replicas-to-write", "1");
      return () => client.config("SET", "min-replicas-to-write", "0");
    },
  },
  {
    says: "READONLY",
    code: "unavailable",
    spoil: async (server) => {
      const client = openClient(server);
      // Of a primary that is not there.
      await client.replicaof("127.0.0.1", 1);
      return () => client.call("REPLICAOF", "NO", "ONE");
    },
  },
  {
    says: "MISCONF",
    code: "resource_exhausted",
    spoil: async (server) => {
      const client = openClient(server);
      const place = join(server.folder, "dump.rdb");
      mkdirSync(place);
      await client.config("SET", "save", "3600 1");
      await client.bgsave();
      await vi.waitUntil(async () =>
        (await client.info("persistence")).includes("rdb_last_bgsave_status:err"),
      );
      return async () => {
        rmSync(place, { recursive: true });
        await client.save();
      };
    },
  },
  {
    says: "BUSY",
    code: "unavailable",
    spoil: async (server) => {
      const [client, other] = [openClient(server), openClient(server)];
      await other.ping();
      const script = client.eval("while true do end", 0).catch(() => undefined);
      await vi.waitUntil(() =>
        other.ping().then(
          () => false,
          (error: Error) => error.message.startsWith("BUSY"),
        ),
      );
      return async () => {
        await other.script("KILL");
        await script;
      };
    },
  },
  {
    says: "LOADING",
    code: "unavailable",
    spoil: async (server) => {
      const [client, other] = [openClient(server), openClient(server)];
      await other.mset(Object.fromEntries(Array.from({ length: 4_000 }, (_, at) => [at, at])));
      await client.config("SET", "key-load-delay", "1000");
      const loading = client.call("DEBUG", "RELOAD").catch(() => undefined);
      await vi.waitUntil(() =>
        other.get("x").then(
          () => false,
          (error: Error) => error.message.startsWith("LOADING"),
        ),
      );
      return async () => {
        await other.config("SET", "key-load-delay", "0");
        await loading;
      };
    },
  },
];

const settings = [
  ["--busy-reply-threshold", "50"],
  ["--enable-debug-command", "yes"],
  ["--loading-process-events-interval-bytes", "1024"],
].flat();

describe("redis that refuses", () => {
  test.for(cases)("with $says is said to be $code, and nothing was changed", async (spoiling) => {
    const server = await startServer(...settings);
    const store = await openStore(server);
    const worker = await readyWorker(store, 1);
    await submit(store);
    const [given] = await store.claimNext(worker, claimOf(1), dawn);
    if (given === undefined) throw new Error("nothing was claimed");
    await submit(store);
    const mend = await spoiling.spoil(server);
    const refused = { code: spoiling.code };
    const end = {
      ...given,
      outcome: outcome(),
      move: "succeed",
      next: { kind: "over", expiresAt: dawn },
      expiresAt: dawn,
    } as const;
    const steps = await Promise.allSettled([
      store.submitJobs([newJob(), newJob({ spec: new Uint8Array(9_000) })], dawn),
      store.claimNext(worker, claimOf(1), dawn),
      store.finishAttempts([end], dawn),
    ]);
    for (const step of steps) expect(step).toMatchObject({ status: "rejected", reason: refused });
    await mend();
    await vi.waitUntil(() => store.listLiveWorkers().then(Boolean, () => false), 20_000);
    expect(await store.readDemand(dawn)).toMatchObject([{ queued: 1 }]);
    expect(await store.findJob(given.jobId)).toMatchObject({ state: "starting", version: 2 });
    expect(await store.finishAttempts([end], dawn)).toEqual(["ok"]);
    expect(await store.claimNext(worker, claimOf(9), dawn)).toHaveLength(1);
  });
});

test.for([
  ["a wrong password", "hodei:secret", []],
  ["an unknown user", "nobody:secret", []],
  ["a user that may not look at the server", "hodei:right", ["-info"]],
  ["a user that may not run scripts", "hodei:right", ["-eval", "-evalsha"]],
  ["a user that has no keys", "hodei:right", ["resetkeys"]],
] as const)("%s is told as what it is, without being repeated", async ([, who, rules]) => {
  const port = await freePort();
  const server = await startServer("--port", String(port));
  const client = openClient(server);
  const rights = ["on", ">right", "~hodei:*", "&hodei:*", "+@all"];
  await client.call("ACL", "SETUSER", "hodei", ...rights, ...rules);
  const open = async () => {
    const store = await openRedisStore({
      url: `redis://${who}@127.0.0.1:${port}`,
      instance: "test",
    });
    parts.push(store);
    await store.listLiveWorkers();
  };
  const error = await open().then(
    () => undefined,
    (problem: Error) => problem,
  );
  const hint = expect.stringContaining("hodei:*") as string;
  expect(error).toMatchObject({ code: "unavailable", hint });
  expect(inspect(error)).not.toContain("secret");
});

test("a user that may what the hint says can do all", async () => {
  const port = await freePort();
  const server = await startServer("--port", String(port));
  const client = openClient(server);
  await client.call("ACL", "SETUSER", "ops", "on", ">open sesame", "~hodei:*", "&hodei:*", "+@all");
  const url = `redis://ops:open%20sesame@127.0.0.1:${port}`;
  const store = await openRedisStore({ url, instance: "test" });
  parts.push(store);
  const heard: string[] = [];
  const following = await store.follow?.(({ id }) => heard.push(id));
  if (following !== undefined) parts.push(following);
  const id = await submit(store);
  await vi.waitUntil(() => heard.length > 0);
  expect(heard).toContain(id);
});
