import { Redis } from "ioredis";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { openRedisStore } from "#store/redis/open.ts";
import { submit } from "../conformance/store/job-facts.ts";
import { RedisSentinel } from "./redis-sentinel.ts";
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

const fixture = (name: string): string => join(import.meta.dirname, "../rpc/tls", name);
const secure = [
  ["tls-cert-file", fixture("server.pem")],
  ["tls-key-file", fixture("server.key")],
  ["tls-ca-cert-file", fixture("ca.pem")],
  ["tls-auth-clients", "no"],
  ["tls-replication", "yes"],
] as const;

const kinds = [
  { scheme: "redis+sentinel", listens: "port", settings: [], change: {} },
  {
    scheme: "rediss+sentinel",
    listens: "tls-port",
    settings: secure,
    change: { caFile: fixture("ca.pem") },
  },
];

test.for(kinds)(
  "$scheme finds the primary, and the next one when it dies; nothing that a replica confirmed is lost",
  async ({ scheme, listens, settings, change }) => {
    const [first, second, port] = [await freePort(), await freePort(), await freePort()];
    const flags = settings.flatMap(([name, value]) => [`--${name}`, value]);
    const where = (at: number) => [`--${listens}`, String(at), "--bind", "127.0.0.1", ...flags];
    const quick = ["--repl-diskless-sync-delay", "0"];
    const primary = await startServer(...where(first), ...quick);
    const replica = await startServer(...where(second), "--replicaof", `127.0.0.1 ${first}`);
    const lines = settings.map(([name, value]) => `${name} ${value}`);
    const closed = listens === "port" ? [] : ["port 0"];
    parts.push(
      new RedisSentinel({
        port,
        primary: first,
        listens: `${listens} ${port}`,
        settings: [...closed, ...lines],
      }),
    );
    const client = new Redis(primary.path);
    client.on("error", () => undefined);
    // What it knows of the replica it has from the primary.
    await vi.waitUntil(async () => (await client.info("replication")).includes("state=online"));
    client.disconnect();
    const url = `${scheme}://127.0.0.1:${port}/main`;
    const open = () =>
      openRedisStore({ url, instance: "test", durability: "replicated", ...change });
    const store = await vi.waitUntil(() => open().catch(() => undefined), 20_000);
    parts.push(store);
    const heard: string[] = [];
    const following = await store.follow?.((said) => heard.push(`${said.kind} ${said.id}`));
    if (following !== undefined) parts.push(following);
    const kept = await vi.waitUntil(() => submit(store).catch(() => undefined), 20_000);
    const sentinel = new Redis(replica.path);
    parts.push({ [Symbol.asyncDispose]: async () => sentinel.disconnect() });
    await primary.kill();
    await vi.waitUntil(async () => (await sentinel.role())[0] === "master", 60_000);
    await vi.waitUntil(() => store.findJob(kept).then(Boolean, () => false), 30_000);
    await vi.waitUntil(() => heard.includes("missed "), 30_000);
    // Nobody is left to confirm, so that a step is done but not acknowledged.
    await expect(submit(store)).rejects.toMatchObject({ code: "unavailable" });
    expect(await store.readDemand(Date.now())).toMatchObject([{ queued: 2 }]);
  },
);
