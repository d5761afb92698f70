import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openFileLogStore } from "#logstore/files/open.ts";
import { openRedisLogStore } from "#logstore/redis/open.ts";
import { copyStores } from "#server-copy.ts";
import { openSqliteStore } from "#store/sqlite/open.ts";
import { readAll, Writer } from "./conformance/log-model.ts";
import { redisPlaces } from "./logstore/redis-ground.ts";
import { later, newFolder, quotaBytesPerAttempt } from "./logstore/folder.ts";
import { fillStore } from "./store/filled.ts";

test.for(redisPlaces)("copies logs into %s and back", async ([, start]) => {
  const redis = await start();
  onTestFinished(() => redis[Symbol.asyncDispose]());
  const directory = newFolder();
  mkdirSync(directory, { recursive: true });
  const store = await openSqliteStore({ path: join(directory, "hodei.db") });
  const { attemptId } = (await fillStore(store)).running;
  await store[Symbol.asyncDispose]();
  const files = (folder: string) =>
    openFileLogStore({ directory: join(folder, "logs"), quotaBytesPerAttempt });
  const logs = await files(directory);
  const writer = new Writer();
  for (let at = 0; at < 50; at++) await logs.append(attemptId, writer.lines(`${at}\n`));
  await logs.end(attemptId, { expiresAt: later });
  await logs[Symbol.asyncDispose]();
  const place = `${redis.url}#copied`;
  expect(await copyStores({ from: directory, to: place })).toMatchObject({ logs: 1, leftLogs: 0 });
  {
    const { url } = redis;
    await using shared = await openRedisLogStore({ url, instance: "copied", quotaBytesPerAttempt });
    expect(await readAll(shared, attemptId)).toEqual(writer.records);
    expect(await shared.findLog(attemptId)).toMatchObject({ batch: 50, expiresAt: later });
  }
  const back = join(newFolder(), "back");
  expect(await copyStores({ from: place, to: back })).toMatchObject({ logs: 1 });
  await using again = await files(back);
  expect(await readAll(again, attemptId)).toEqual(writer.records);
});
