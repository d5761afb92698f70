import { join } from "node:path";
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { openRedisStore } from "#store/redis/open.ts";
import type { Store } from "#store/store.ts";
import { submit } from "../conformance/store/job-facts.ts";
import { freePort, RedisServer } from "./redis-server.ts";

const fixture = (name: string): string => join(import.meta.dirname, "../rpc/tls", name);
const caFile = fixture("ca.pem");
let server: RedisServer;
let port: number;

beforeEach(async () => {
  port = await freePort();
  const files = ["--tls-cert-file", fixture("server.pem"), "--tls-key-file", fixture("server.key")];
  const clients = ["--tls-ca-cert-file", caFile, "--tls-auth-clients", "no"];
  server = new RedisServer("--tls-port", String(port), ...files, ...clients);
  await server.start();
});
afterEach(() => server[Symbol.asyncDispose]());

async function open(url: string, change: object = {}): Promise<Store> {
  const store = await openRedisStore({ url, instance: "test", ...change });
  onTestFinished(() => store[Symbol.asyncDispose]());
  return store;
}

test("a store is reached over TLS, and so is what it tells, also when it has been away", async () => {
  const store = await open(`rediss://127.0.0.1:${port}`, { caFile });
  const id = await submit(store);
  expect(await store.findJob(id)).toMatchObject({ state: "queued" });
  const heard: string[] = [];
  const following = await store.follow?.((change) => heard.push(`${change.kind} ${change.id}`));
  onTestFinished(async () => following?.[Symbol.asyncDispose]());
  await server.kill();
  await server.start();
  await vi.waitUntil(() => heard.includes("missed "), 20_000);
  await vi.waitUntil(() => store.findJob(id).then(Boolean, () => false), 20_000);
  const next = await submit(store);
  await vi.waitUntil(() => heard.includes(`job ${next}`));
});

test("a certificate of somebody else is refused, and so is a server without TLS", async () => {
  const unavailable = { code: "unavailable" };
  await expect(open(`rediss://127.0.0.1:${port}`)).rejects.toMatchObject(unavailable);
  await expect(open(`redis://127.0.0.1:${port}`)).rejects.toMatchObject(unavailable);
  // Its names are others.
  const named = open(`rediss://127.0.0.2:${port}`, { caFile });
  await expect(named).rejects.toMatchObject(unavailable);
});
