import { expect, test } from "vitest";
import { openRedisStore } from "#store/redis/open.ts";

test("a Redis that does not answer is named, without its password", async () => {
  const url = "redis://someone:secret@127.0.0.1:1/3";
  await expect(openRedisStore({ url, instance: "a" })).rejects.toMatchObject({
    code: "unavailable",
    message: "no Redis answers at redis://127.0.0.1:1/3",
    hint: "HODEI_REDIS_URL says where it is",
  });
});
