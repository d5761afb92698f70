import { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { FakeS3, keysOf } from "../fake/s3.ts";
import { RedisServer } from "../store/redis-server.ts";
import { outputOf } from "./ledger.ts";
import { clientForTest, ServerProcess } from "./server-process.ts";

const lines = 60_000;

test("G17, G18, G19 a long log in Redis has no gap, double or changed byte though the server is killed, and ends in the bucket alone", async () => {
  const redis = await new RedisServer().start();
  onTestFinished(() => redis[Symbol.asyncDispose]());
  const s3 = await FakeS3.start();
  onTestFinished(() => s3[Symbol.asyncDispose]());
  const server = await ServerProcess.start({
    HODEI_STORE: "redis",
    HODEI_REDIS_URL: redis.url,
    HODEI_LOG_LIVE_BYTES: String(256 * 1024),
    HODEI_LOG_ARCHIVE: "s3",
    HODEI_LOG_ARCHIVE_DELAY_MS: "0",
    HODEI_S3_BUCKET: s3.options.bucket,
    HODEI_S3_ENDPOINT: s3.options.endpoint,
    HODEI_S3_ACCESS_KEY_ID: s3.options.accessKeyId,
    HODEI_S3_SECRET_ACCESS_KEY: s3.options.secretAccessKey,
  });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const client = clientForTest(server);
  // Some thousands at a time, so that it goes on for longer than the server is away.
  const script = `i=0; while [ $i -lt ${lines / 2_000} ]; do seq -f 'line %.0f of a log that is long enough' $((i*2000+1)) $((i*2000+2000)); i=$((i+1)); sleep 0.2; done`;
  const { id } = await client.submit({ script });
  const objects = await s3.open({ prefix: "hodei/logs" });
  for (const least of [1, 4]) {
    await expect
      .poll(async () => (await keysOf(objects)).length, { timeout: 60_000 })
      .toBeGreaterThan(least);
    await server.end("SIGKILL");
    await server.start();
  }
  expect(await client.wait(id)).toMatchObject({ state: "succeeded" });
  expect((await client.get(id)).attempts).toHaveLength(1);
  const text = Array.from(
    { length: lines },
    (_, at) => `line ${at + 1} of a log that is long enough\n`,
  ).join("");
  const whole = await outputOf(client, id);
  expect(whole.gaps).toBe(0);
  expect(whole.text === text).toBe(true);
  const looking = new Redis(redis.path);
  onTestFinished(() => looking.disconnect());
  await expect.poll(() => looking.keys("hodei:log:*:stream"), { timeout: 60_000 }).toEqual([]);
  expect(await outputOf(client, id)).toEqual(whole);
  expect(await server.readMetrics()).toMatch(/hodei_log_archive_reachable\{?.*\}? 1/);
});
