import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newAttempt, readAll, Writer, type Seen } from "../conformance/log-model.ts";
import { FakeS3, keysOf } from "../fake/s3.ts";
import type { LogStore } from "#logstore/logstore.ts";
import { later, newWarnings } from "./folder.ts";
import { redisPlaces, Shared, type RedisPlace } from "./redis-ground.ts";

const line = `${"x".repeat(999)}\n`;
const quotaBytesPerAttempt = 200_000;

async function writeNoise(store: LogStore, writer: Writer, batches: number, tenant = "ci") {
  for (let round = 0; round < batches; round++) {
    const batch = writer.lines(...Array<string>(10).fill(line));
    await store.append(writer.attempt, { ...batch, tenant });
  }
}

/** What is read must be the head, one gap that counts exactly, and the tail up to the last record. */
function expectHeadAndTail(seen: readonly Seen[], writer: Writer, bytes: number): void {
  const at = seen.findIndex(({ text }) => text.startsWith("gap:"));
  const missing = writer.records.length - (seen.length - 1);
  expect(seen[at]?.text).toBe(`gap:quota:${missing}:${missing * line.length}`);
  expect(seen.slice(0, at)).toEqual(writer.records.slice(0, at));
  expect(seen.slice(at + 1)).toEqual(writer.records.slice(at + missing));
  expect(at * line.length).toBeGreaterThan(bytes / 2 - 20_000);
  expect(at * line.length).toBeLessThan(bytes / 2 + 20_000);
  expect((seen.length - at) * line.length).toBeGreaterThan(bytes / 2 - 20_000);
  expect((seen.length - at) * line.length).toBeLessThan(bytes + 20_000);
}

describe.for(redisPlaces)("logs in %s", ([, start]) => {
  let server: RedisPlace;
  beforeAll(async () => {
    server = await start();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test("a long log goes to the archive, whole and readable from anywhere, and leaves a small hash", async () => {
    const shared = new Shared(server);
    const [one, other] = [
      await shared.openArchived({ liveBytesPerLog: 20_000 }),
      await shared.openArchived({ liveBytesPerLog: 20_000 }),
    ];
    const writer = new Writer();
    const following = readAll(other, writer.attempt, { follow: true });
    await writeNoise(one, writer, 100);
    await expect.poll(async () => (await shared.keys()).length).toBeGreaterThan(10);
    expect(await readAll(other, writer.attempt)).toEqual(writer.records);
    expect(await readAll(other, writer.attempt, { tailLines: 300 })).toEqual(
      writer.records.slice(-300),
    );
    await other.end(writer.attempt, { expiresAt: later });
    expect(await following).toEqual(writer.records);
    const [meta = ""] = await shared.keysInRedis(writer.attempt);
    await expect.poll(() => shared.keysInRedis(writer.attempt)).toEqual([meta]);
    expect(await shared.redis.memory("USAGE", meta)).toBeLessThan(20_000);
    for (const store of [one, other]) {
      expect(await readAll(store, writer.attempt)).toEqual(writer.records);
      const after = { stdout: 700, stderr: 0, system: 0 };
      expect(await readAll(store, writer.attempt, { after })).toEqual(writer.records.slice(700));
    }
    await expect.poll(() => one.stats().archive?.storedBytes).toBeGreaterThan(1_000);
    await expect.poll(() => one.stats()).toMatchObject({ openLogs: 0, storedBytes: 0 });
  });

  test.for([{ isArchived: true }, { isArchived: false }])(
    "a noisy log keeps its head and its tail, with a gap between, archived: $isArchived",
    async ({ isArchived }) => {
      const shared = new Shared(server);
      const open = () => {
        return isArchived
          ? shared.openArchived({ quotaBytesPerAttempt })
          : shared.open({ quotaBytesPerAttempt });
      };
      const store = await open();
      const writer = new Writer();
      await writeNoise(store, writer, 200);
      await expect
        .poll(async () => (await readAll(store, writer.attempt)).length)
        .toBeLessThan(quotaBytesPerAttempt / 500);
      const other = await open();
      expectHeadAndTail(await readAll(other, writer.attempt), writer, quotaBytesPerAttempt);
      await writeNoise(other, writer, 100);
      await other.end(writer.attempt, { expiresAt: later });
      await expect
        .poll(() => shared.redis.exists(`hodei:log:${shared.instance}:{${writer.attempt}}:stream`))
        .toBe(0);
      expectHeadAndTail(await readAll(store, writer.attempt), writer, quotaBytesPerAttempt);
      expect(await readAll(store, writer.attempt, { tailLines: 5 })).toEqual(
        writer.records.slice(-5),
      );
      const { segments, unfinished } = await shared.indexOf(writer.attempt);
      expect(unfinished).toEqual([]);
      const stored = isArchived ? await shared.keys() : await shared.keysInRedis(writer.attempt);
      expect(stored).toHaveLength(segments.length + (isArchived ? 0 : 1));
      expect(stored.length).toBeLessThan(40);
    },
  );

  test("the logs of a tenant beyond its quota keep their ends only, those of others everything", async () => {
    const shared = new Shared(server);
    const limits = { quotaBytesPerTenant: 500_000, liveBytesPerLog: 50_000 };
    const store = await shared.openArchived(limits);
    const [first, second, foreign] = [new Writer(), new Writer(), new Writer()];
    // Noise that cannot be compressed would make the test slow; the stream itself counts in full.
    const big = await shared.openArchived({ ...limits, liveBytesPerLog: 10_000_000 });
    await writeNoise(big, first, 60, "noisy");
    await expect
      .poll(() => shared.redis.hget(`hodei:{${shared.instance}}:logs:sums`, "tnoisy"))
      .toMatch(/^6\d{5}$/);
    await writeNoise(store, second, 60, "noisy");
    await writeNoise(store, foreign, 60, "quiet");
    await store.end(second.attempt, { expiresAt: later });
    await store.end(foreign.attempt, { expiresAt: later });
    const leave = ({ attempt }: Writer) =>
      expect
        .poll(() => shared.redis.exists(`hodei:log:${shared.instance}:{${attempt}}:stream`))
        .toBe(0);
    await Promise.all([leave(second), leave(foreign)]);
    expectHeadAndTail(await readAll(store, second.attempt), second, 256 * 1024);
    expect(await readAll(store, foreign.attempt)).toEqual(foreign.records);
    expect(await readAll(store, first.attempt)).toEqual(first.records);
  });

  test("an expired log is deleted in Redis and in the archive, once, also by two at the same time", async () => {
    const shared = new Shared(server);
    const small = { liveBytesPerLog: 20_000 };
    const [one, other] = [await shared.openArchived(small), await shared.openArchived(small)];
    const early = new Writer();
    const late = new Writer();
    for (const [writer, expiresAt] of [
      [early, later],
      [late, later + 3_600_000],
    ] as const) {
      await writeNoise(one, writer, 20);
      await one.end(writer.attempt, { expiresAt });
      await expect.poll(async () => (await shared.keysInRedis(writer.attempt)).length).toBe(1);
    }
    const before = await shared.keys();
    expect(await Promise.all([one.expire(later), other.expire(later)])).toEqual([0, 0]);
    expect(await shared.keys()).toEqual(before);
    const counts = await Promise.all([one.expire(later), other.expire(later)]);
    expect(counts[0] + counts[1]).toBe(1);
    expect(await shared.keysInRedis(early.attempt)).toEqual([]);
    const kept = (await shared.keys()).filter((key) => key.includes(early.attempt));
    expect(kept).toEqual([]);
    expect(await readAll(other, early.attempt)).toEqual([]);
    expect(await readAll(other, late.attempt)).toEqual(late.records);
    expect(await shared.redis.hlen(`hodei:{${shared.instance}}:logs:bytes`)).toBe(1);
  });

  test("while the archive cannot be reached a log fills its room and waits, and then goes on", async () => {
    const shared = new Shared(server);
    await using s3 = await FakeS3.start();
    const log = newWarnings();
    const objects = await s3.open({ tries: 1 });
    const limits = { liveBytesPerLog: 40_000, roomWaitMs: 50, log };
    const store = await shared.open({ objects, ...limits });
    s3.fault = "refused";
    const writer = new Writer();
    const full = writeNoise(store, writer, 1_000);
    await expect(full).rejects.toThrow(expect.objectContaining({ code: "resource_exhausted" }));
    await expect.poll(() => log.messages).toContain("logs cannot be sealed: they stay in Redis");
    expect(store.stats().archive).toMatchObject({ isReachable: false });
    const quiet = new Writer();
    await store.append(quiet.attempt, quiet.lines("not kept waiting\n"));
    s3.fault = "none";
    const refused = writer.number;
    const again = new Writer();
    for (let number = 1; number <= refused + 50; number++) {
      const batch = again.lines(...Array<string>(10).fill(line));
      if (number < refused) continue;
      await expect
        .poll(
          () =>
            store.append(writer.attempt, batch).then(
              () => true,
              () => false,
            ),
          {
            timeout: 20_000,
          },
        )
        .toBe(true);
    }
    expect(await readAll(store, writer.attempt)).toEqual(again.records);
    expect((await keysOf(objects)).length).toBeGreaterThan(1);
    expect(store.stats().archive).toMatchObject({ isReachable: true });
  });

  test("when all logs together fill their room, the noisy ones wait and the quiet ones do not", async () => {
    const shared = new Shared(server);
    await using s3 = await FakeS3.start();
    const objects = await s3.open({ tries: 1 });
    const store = await shared.open({ objects, liveBytes: 1_000_000, roomWaitMs: 50 });
    s3.fault = "refused";
    const noisy = [new Writer(), new Writer(), new Writer()];
    await Promise.all(
      noisy.map((writer) =>
        expect(writeNoise(store, writer, 1_000)).rejects.toThrow("fill their room in Redis"),
      ),
    );
    const quiet = new Writer();
    for (let at = 0; at < 10; at++) await store.append(quiet.attempt, quiet.lines(`${at}\n`));
    expect(await readAll(store, quiet.attempt)).toEqual(quiet.records);
    const used = await shared.redis.hget(`hodei:{${shared.instance}}:logs:sums`, "#memory");
    expect(Number(used)).toBeLessThan(1_300_000);
  });

  test("a log whose archive is not set is said to be there, and is read when it is set again", async () => {
    const shared = new Shared(server);
    const writer = new Writer();
    const archived = await shared.openArchived();
    await archived.append(writer.attempt, writer.lines("one\n"));
    await archived.end(writer.attempt, { expiresAt: later });
    await expect.poll(async () => (await shared.keys()).length).toBe(1);
    const without = await shared.open();
    expect(await without.findLog(writer.attempt)).toMatchObject({ batch: 1, hasEnded: true });
    await expect(readAll(without, writer.attempt)).rejects.toThrow("an archive that is not set");
    expect(await readAll(await shared.openArchived(), writer.attempt)).toEqual(writer.records);
  });

  test("a segment that was damaged or deleted is told as a gap", async () => {
    const shared = new Shared(server);
    const log = newWarnings();
    const store = await shared.openArchived({ liveBytesPerLog: 20_000, log });
    const writer = new Writer();
    await writeNoise(store, writer, 10);
    await store.end(writer.attempt, { expiresAt: later });
    await expect.poll(async () => (await shared.keysInRedis(writer.attempt)).length).toBe(1);
    const objects = await shared.objects();
    const [key = ""] = await shared.keys();
    await objects.delete(key);
    const seen = await readAll(store, writer.attempt);
    const gaps = seen.filter(({ text }) => text.startsWith("gap:corrupt:"));
    expect(gaps).toHaveLength(1);
    expect(log.messages).toContain("a segment of a log is missing");
    expect(await readAll(store, newAttempt())).toEqual([]);
  });
});
