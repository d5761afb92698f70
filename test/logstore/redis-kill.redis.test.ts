import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isAttemptId } from "#job/id.ts";
import { readAll, Writer } from "../conformance/log-model.ts";
import { later } from "./folder.ts";
import { redisPlaces, Shared, type RedisPlace } from "./redis-ground.ts";

const program = join(import.meta.dirname, "redis-child.ts");
describe.for(redisPlaces)("logs in %s", ([, start]) => {
  let server: RedisPlace;
  beforeAll(async () => {
    server = await start();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test.for([
    ["claimed", 1],
    ["claimed", 5],
    ["stored", 1],
    ["stored", 5],
    ["stored", 60],
    ["committed", 1],
    ["committed", 60],
    ["cleaned", 1],
  ] as const)(
    "nothing is lost or doubled when a process dies with kill -9 once it has %s for the %i. time",
    async ([step, count]) => {
      const shared = new Shared(server);
      const args = [program, server.url, shared.instance, shared.folder, step, String(count)];
      const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
      let [attempt, acknowledged] = ["", 0];
      for await (const line of createInterface({ input: child.stdout })) {
        if (attempt === "") attempt = line;
        else acknowledged = Number(line);
      }
      expect(child.signalCode ?? "SIGKILL").toBe("SIGKILL");
      if (!isAttemptId(attempt)) throw new Error("the child wrote something else");
      const quota = { quotaBytesPerAttempt: 200_000, liveBytesPerLog: 4_000, sealClaimMs: 50 };
      const store = await shared.openArchived(quota);
      const there = (await store.findLog(attempt))?.batch ?? 0;
      expect(there).toBeGreaterThanOrEqual(acknowledged);
      // The agent goes on with another replica, from what it does not know to be there.
      const writer = new Writer();
      const text = (number: number) => `${`line ${number} `.padEnd(500, ".")}\n`;
      for (let number = 1; number <= there + 20; number++) {
        const batch = writer.lines(text(number));
        if (number > acknowledged) await store.append(attempt, batch);
      }
      const check = async () => {
        const seen = await readAll(store, attempt);
        const at = seen.findIndex(({ text: found }) => found.startsWith("gap:"));
        if (at === -1) return expect(seen).toEqual(writer.records);
        const missing = writer.records.length - seen.length + 1;
        expect(seen[at]?.text).toMatch(new RegExp(`^gap:quota:${missing}:`));
        expect(seen.toSpliced(at, 1)).toEqual(writer.records.toSpliced(at, missing));
      };
      await check();
      await store.end(attempt, { expiresAt: later });
      const meta = (await shared.keysInRedis(attempt)).slice(0, 1);
      await expect.poll(() => shared.keysInRedis(attempt), { timeout: 20_000 }).toEqual(meta);
      await check();
      const { segments, unfinished } = await shared.indexOf(attempt);
      expect(unfinished).toEqual([]);
      const stored = (await shared.keys()).map((key) => /-(o[0-9a-f]+)\.segment$/.exec(key)?.[1]);
      const inOrder = stored.toSorted((one = "", other = "") => one.localeCompare(other));
      expect(inOrder).toEqual(segments);
    },
  );
});
