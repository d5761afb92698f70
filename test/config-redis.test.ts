import { expect, test } from "vitest";
import { parseConfig } from "#config.ts";

test("without settings state is in the embedded store", () => {
  const { config } = parseConfig({});
  expect(config).toMatchObject({ store: "embedded", redisDurability: "server" });
});

test("a Redis is named by its URL, an instance and what an answer promises", () => {
  const { config, warnings } = parseConfig({
    HODEI_STORE: "redis",
    HODEI_REDIS_URL: "rediss://ops:secret@redis.example.org",
    HODEI_REDIS_INSTANCE: "prod-1",
    HODEI_REDIS_DURABILITY: "replicated",
    HODEI_REDIS_TIMEOUT_MS: "800",
    HODEI_REDIS_UNSAFE_ALLOWED: "1",
  });
  expect(warnings).toEqual([]);
  expect(config).toMatchObject({
    store: "redis",
    redisInstance: "prod-1",
    redisDurability: "replicated",
    redisTimeoutMs: 800,
    redisUnsafeAllowed: true,
  });
});

test.for(["", "a b", "{x}", "a:b", "-a"])("%j is no name of an instance", (name) => {
  expect(() => parseConfig({ HODEI_REDIS_INSTANCE: name })).toThrow("HODEI_REDIS_INSTANCE");
});
