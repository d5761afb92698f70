import { basename } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { openRedisLogStore } from "#logstore/redis/open.ts";
import { logStoreConformance } from "../conformance/logstore.ts";
import { RedisCluster } from "../store/redis-cluster.ts";
import { RedisServer } from "../store/redis-server.ts";
import { pairOf } from "./redis-pair.ts";
import { quotaBytesPerAttempt } from "./folder.ts";

const server = new RedisServer();
const cluster = new RedisCluster();
beforeAll(async () => {
  await Promise.all([server.start(), cluster.start(3)]);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
});

for (const [name, place] of [
  ["redis", server],
  ["redis cluster", cluster],
] as const) {
  /** The conformance suite names folders; each is an instance here. */
  const open = (directory: string, change = {}) =>
    openRedisLogStore({
      url: place.url,
      instance: basename(directory).replaceAll(/[^A-Za-z0-9]/g, ""),
      quotaBytesPerAttempt,
      ...change,
    });

  logStoreConformance(name, open);

  // So small that everything is sealed all the time; half of the calls go through another process' store.
  const small = { liveBytesPerLog: 40, sealDelayMs: 0 };
  logStoreConformance(`crowded shared ${name}`, async (directory) =>
    pairOf(await open(directory, small), await open(directory, small)),
  );
}
