import { basename } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { openRedisLogStore } from "#logstore/redis/open.ts";
import { logStoreConformance } from "../conformance/logstore.ts";
import { RedisServer } from "../store/redis-server.ts";
import { pairOf } from "./redis-pair.ts";
import { quotaBytesPerAttempt } from "./folder.ts";

const server = new RedisServer();
beforeAll(() => server.start());
afterAll(() => server[Symbol.asyncDispose]());

/** The conformance suite names folders; each is an instance here. */
const place = (directory: string) => {
  return { url: server.url, instance: basename(directory).replaceAll(/[^A-Za-z0-9]/g, "") };
};

logStoreConformance("redis", (directory) =>
  openRedisLogStore({ ...place(directory), quotaBytesPerAttempt }),
);

// So small that everything is sealed all the time; half of the calls go through another process' store.
logStoreConformance("crowded shared redis", async (directory) =>
  pairOf(
    await openRedisLogStore({
      ...place(directory),
      quotaBytesPerAttempt,
      liveBytesPerLog: 40,
      sealDelayMs: 0,
    }),
    await openRedisLogStore({
      ...place(directory),
      quotaBytesPerAttempt,
      liveBytesPerLog: 40,
      sealDelayMs: 0,
    }),
  ),
);
