import { afterAll, beforeAll } from "vitest";
import { openRedisStore } from "#store/redis/open.ts";
import { storeConformance } from "../conformance/store.ts";
import { RedisServer } from "./redis-server.ts";

const server = new RedisServer();
let instances = 0;
beforeAll(() => server.start());
afterAll(() => server[Symbol.asyncDispose]());

storeConformance("redis", () => {
  return openRedisStore({ url: server.url, instance: `test-${++instances}` });
});
