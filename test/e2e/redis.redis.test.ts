import { expect, onTestFinished, test } from "vitest";
import { RedisServer } from "../store/redis-server.ts";
import { clientForTest, ServerProcess } from "./server-process.ts";

test("G1, G9 with its state in Redis and logs in files, a server that is killed goes on where it was, and a second one is refused", async () => {
  const redis = await new RedisServer().start();
  onTestFinished(() => redis[Symbol.asyncDispose]());
  const env = { HODEI_STORE: "redis", HODEI_REDIS_URL: redis.url, HODEI_LOG_STORE: "files" };
  const server = await ServerProcess.start(env);
  onTestFinished(() => server[Symbol.asyncDispose]());
  const client = clientForTest(server);
  const { id } = await client.submit({
    script: "for i in $(seq 1 30); do echo line $i; sleep 0.1; done",
  });
  for await (const event of client.watch(id)) if (event.state === "running") break;
  await expect(ServerProcess.start(env)).rejects.toThrow(/in use/);
  await server.end("SIGKILL");
  await server.start();
  expect(await client.wait(id)).toMatchObject({ state: "succeeded" });
  expect((await client.get(id)).attempts).toHaveLength(1);
  const parts: Buffer[] = [];
  for await (const { data } of client.logs(id)) parts.push(Buffer.from(data));
  const lines = Array.from({ length: 30 }, (_, at) => `line ${at + 1}\n`);
  expect(Buffer.concat(parts).toString()).toBe(lines.join(""));
});
