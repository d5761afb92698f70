import { existsSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { openFileLogStore, type FileLogStoreOptions } from "#logstore/files/open.ts";
import type { Shipping } from "#logstore/files/shipper.ts";
import type { LogStore } from "#logstore/logstore.ts";
import type { ObjectStore } from "#logstore/object-store.ts";
import { readAll, Writer } from "../conformance/log-model.ts";
import { FakeS3, keysOf } from "../fake/s3.ts";
import { later, newFolder, newWarnings, quotaBytesPerAttempt } from "./folder.ts";

let s3: FakeS3;
beforeAll(async () => {
  s3 = await FakeS3.start();
});
afterAll(async () => {
  await s3[Symbol.asyncDispose]();
});

/** A folder and a prefix of its own. */
async function newPlace() {
  s3.fault = "none";
  const directory = newFolder();
  const warnings = newWarnings();
  const objects = await s3.open({ prefix: directory });
  const keys = () => keysOf(objects);
  const open = async (
    shipping: Partial<Shipping> = {},
    more: Partial<FileLogStoreOptions> = {},
  ): Promise<LogStore> => {
    const store = await openFileLogStore({
      directory,
      quotaBytesPerAttempt,
      log: warnings,
      shipping: {
        objects: await s3.open({ prefix: directory }),
        delayMs: 0,
        localMs: 0,
        localBytes: 0,
        ...shipping,
      },
      ...more,
    });
    onTestFinished(() => store[Symbol.asyncDispose]());
    return store;
  };
  return { directory, objects, keys, open, warnings };
}

const files = (directory: string, kind: string) =>
  readdirSync(join(directory, "archive")).filter((name) => name.endsWith(kind));

async function writeEnded(store: LogStore, lines = 3, expiresAt = later): Promise<Writer> {
  const writer = new Writer();
  for (let line = 0; line < lines; line++) {
    await store.append(writer.attempt, writer.lines(`${writer.attempt} line ${line}\n`));
  }
  await store.end(writer.attempt, { expiresAt });
  return writer;
}

async function untilDropped(directory: string, count = 1): Promise<void> {
  const look = () => [files(directory, "pack").length, files(directory, "tail").length];
  await expect.poll(look, { timeout: 10_000 }).toEqual([0, count]);
}

test("stores an ended log as an object and reads it from there", async () => {
  const { directory, keys, open } = await newPlace();
  const store = await open();
  const writer = await writeEnded(store);
  await untilDropped(directory);
  expect(await keys()).toHaveLength(1);
  expect(await readAll(store, writer.attempt)).toEqual(writer.records);
  expect(await store.findLog(writer.attempt)).toMatchObject({ hasEnded: true, batch: 3 });
  expect(store.stats().archive).toMatchObject({ waitingBytes: 0, isReachable: true });
});

test("reads what is large with few requests, and from the middle", async () => {
  const { directory, open } = await newPlace();
  const store = await open();
  const writer = new Writer();
  const noise = (line: number) => Buffer.alloc(40_000, `${line} `).toString("latin1");
  for (let line = 0; line < 200; line++) {
    await store.append(writer.attempt, writer.lines(`${line} ${noise(line)}\n`));
  }
  await store.end(writer.attempt, { expiresAt: later });
  await untilDropped(directory);
  const before = s3.calls.length;
  expect(await readAll(store, writer.attempt)).toEqual(writer.records);
  expect(s3.calls.length - before).toBeLessThan(12);
  const after = { stdout: 190, stderr: 0, system: 0 };
  expect(await readAll(store, writer.attempt, { after })).toEqual(writer.records.slice(190));
  expect(await readAll(store, writer.attempt, { tailLines: 1 })).toEqual(writer.records.slice(-1));
});

test("keeps appending, and keeps logs here, while the archive is away, and sends them when it is back", async () => {
  const { directory, keys, open, warnings } = await newPlace();
  const store = await open();
  s3.fault = "refused";
  const writers: Writer[] = [];
  for (let round = 0; round < 5; round++) writers.push(await writeEnded(store));
  await expect.poll(() => store.stats().archive?.isReachable).toBe(false);
  expect(store.stats().archive?.waitingBytes).toBeGreaterThan(0);
  for (const { attempt, records } of writers)
    expect(await readAll(store, attempt)).toEqual(records);
  s3.fault = "none";
  await expect.poll(() => store.stats().archive?.waitingBytes, { timeout: 20_000 }).toBe(0);
  expect((await keys()).length).toBe(files(directory, "tail").length);
  for (const { attempt, records } of writers)
    expect(await readAll(store, attempt)).toEqual(records);
  expect(warnings.messages).toContain("log archive works again");
});

test("lets nobody wait for an upload that hangs, not even its own end", async () => {
  const { open } = await newPlace();
  const store = await open();
  s3.fault = "hangs";
  const before = s3.calls.length;
  const first = await writeEnded(store);
  await expect.poll(() => s3.calls.length).toBeGreaterThan(before);
  const second = await writeEnded(store, 100);
  for (const { attempt, records } of [first, second]) {
    expect(await readAll(store, attempt)).toEqual(records);
  }
  expect((await store.expire(later + 1)) + (await store.expire(later + 1))).toBe(2);
  await store[Symbol.asyncDispose]();
});

test.for(["refused", "error", "truncated", "forbidden"] as const)(
  "answers unavailable with the archive's name, and never less than the log, when it is %s",
  async (fault) => {
    const { directory, open } = await newPlace();
    const store = await open();
    const writer = await writeEnded(store);
    await untilDropped(directory);
    s3.fault = fault;
    const refused = expect.objectContaining({
      code: "unavailable",
      message: expect.stringContaining("s3://hodei"),
    });
    await expect(readAll(store, writer.attempt)).rejects.toThrow(refused);
    await expect(store.findLog(writer.attempt)).rejects.toThrow(refused);
    // What has ended stays so, and other logs go on.
    await store.end(writer.attempt, { expiresAt: later });
    await expect(store.append(writer.attempt, writer.lines("x\n"))).rejects.toThrow("has ended");
    const other = new Writer();
    await store.append(other.attempt, other.lines("y\n"));
    expect(await readAll(store, other.attempt)).toEqual(other.records);
    s3.fault = "none";
    expect(await readAll(store, writer.attempt)).toEqual(writer.records.slice(0, 3));
  },
);

test("never takes damaged bytes for the log", async () => {
  const { directory, open } = await newPlace();
  const store = await open();
  const writer = await writeEnded(store, 50);
  await untilDropped(directory);
  s3.fault = "damaged";
  const seen = await readAll(store, writer.attempt).catch(() => []);
  for (const { text } of seen) expect(text).toMatch(/^gap:/);
  s3.fault = "none";
  expect(await readAll(store, writer.attempt)).toEqual(writer.records);
});

test("lets a reader go on when its pack leaves this disk", async () => {
  const { directory, open } = await newPlace();
  const store = await open();
  s3.fault = "refused";
  const writer = new Writer();
  for (let line = 0; line < 40; line++) {
    await store.append(writer.attempt, writer.lines(`${line} ${"x".repeat(30_000)}\n`));
  }
  await store.end(writer.attempt, { expiresAt: later });
  await expect.poll(() => files(directory, "pack").length).toBe(1);
  const reading = store.read(writer.attempt, {
    after: { stdout: 0, stderr: 0, system: 0 },
    follow: false,
    signal: new AbortController().signal,
  });
  const iterator = reading[Symbol.asyncIterator]();
  let batches = (await iterator.next()).done === true ? 0 : 1;
  s3.fault = "none";
  await untilDropped(directory);
  while ((await iterator.next()).done !== true) batches++;
  expect(batches).toBe(40);
});

test("deletes objects that have expired, and nothing else", async () => {
  const { directory, objects, keys, open } = await newPlace();
  const store = await open();
  await writeEnded(store);
  const day = 24 * 3_600_000;
  const late = await writeEnded(store, 3, later + 3 * day);
  await untilDropped(directory, 2);
  const [first, second] = await keys();
  await objects.put("foreign", import.meta.filename);
  await store.expire(later + 1);
  await store.expire(later + 1);
  await expect.poll(keys).toEqual([second, "foreign"]);
  expect(first).not.toBe(second);
  expect(await readAll(store, late.attempt)).toEqual(late.records);
});

test("deletes expired objects later when the archive was away", async () => {
  const { directory, keys, open } = await newPlace();
  const store = await open();
  await writeEnded(store);
  await untilDropped(directory);
  s3.fault = "refused";
  expect((await store.expire(later + 1)) + (await store.expire(later + 1))).toBe(1);
  await expect.poll(() => store.stats().archive?.isReachable).toBe(false);
  s3.fault = "none";
  await expect.poll(keys, { timeout: 20_000 }).toEqual([]);
});

test("stores a pack under the same name again after a crash between upload and note", async () => {
  const { directory, keys, open } = await newPlace();
  const first = await open({ localMs: 3_600_000, localBytes: 2 ** 40 });
  const writer = await writeEnded(first);
  await expect.poll(() => files(directory, "tail").length).toBe(1);
  await first[Symbol.asyncDispose]();
  const before = await keys();
  for (const name of files(directory, "tail")) rmSync(join(directory, "archive", name));
  const second = await open();
  await untilDropped(directory);
  expect(await keys()).toEqual(before);
  expect(await readAll(second, writer.attempt)).toEqual(writer.records);
});

test("reads the local copy after a crash between note and delete, and deletes it then", async () => {
  const { directory, open } = await newPlace();
  const first = await open({ localMs: 3_600_000, localBytes: 2 ** 40 });
  const writer = await writeEnded(first);
  await expect.poll(() => files(directory, "tail").length).toBe(1);
  await first[Symbol.asyncDispose]();
  s3.fault = "refused";
  const second = await open();
  expect(await readAll(second, writer.attempt)).toEqual(writer.records);
  s3.fault = "none";
  await untilDropped(directory);
  expect(await readAll(second, writer.attempt)).toEqual(writer.records);
});

test("finds its archived logs again when its own disk was lost", async () => {
  const { directory, open, warnings } = await newPlace();
  const first = await open();
  const writers = [await writeEnded(first)];
  await untilDropped(directory);
  writers.push(await writeEnded(first));
  await untilDropped(directory, 2);
  await first[Symbol.asyncDispose]();
  renameSync(join(directory, "archive"), join(directory, "gone"));
  const second = await open();
  for (const { attempt, records } of writers) {
    await expect.poll(() => readAll(second, attempt)).toEqual(records);
  }
  await expect.poll(() => warnings.messages).toContain("took over archived logs");
  await second.expire(later + 1);
  await second.expire(later + 1);
  expect(await readAll(second, writers[0]?.attempt ?? new Writer().attempt)).toEqual([]);
});

test("stores a pack again whose object has gone", async () => {
  const { directory, objects, keys, open } = await newPlace();
  const first = await open({ localMs: 3_600_000, localBytes: 2 ** 40 });
  await writeEnded(first);
  await expect.poll(() => files(directory, "tail").length).toBe(1);
  await first[Symbol.asyncDispose]();
  const before = await keys();
  for (const key of before) await objects.delete(key);
  await open({ localMs: 3_600_000, localBytes: 2 ** 40 });
  await expect.poll(keys).toEqual(before);
});

test("keeps copies here for their time, and the newest within the budget", async () => {
  const { directory, open } = await newPlace();
  const store = await open({ localMs: 3_600_000, localBytes: 2 ** 40 });
  const writer = await writeEnded(store);
  await expect.poll(() => files(directory, "tail").length).toBe(1);
  expect(files(directory, "pack").length).toBe(1);
  s3.fault = "refused";
  expect(await readAll(store, writer.attempt)).toEqual(writer.records);
  s3.fault = "none";
  await store[Symbol.asyncDispose]();
  const [pack = ""] = files(directory, "pack");
  const { size } = statSync(join(directory, "archive", pack));
  const tight = await open({ localMs: 3_600_000, localBytes: size + 1 });
  await writeEnded(tight);
  await expect.poll(() => files(directory, "tail").length).toBe(2);
  await expect.poll(() => existsSync(join(directory, "archive", pack))).toBe(false);
  expect(files(directory, "pack").length).toBe(1);
});

test("says what is missing when the archive is switched off", async () => {
  const { directory, open } = await newPlace();
  const store = await open();
  const writer = await writeEnded(store);
  await untilDropped(directory);
  await store[Symbol.asyncDispose]();
  const without = await open({}, { shipping: undefined });
  await expect(readAll(without, writer.attempt)).rejects.toThrow(
    expect.objectContaining({
      code: "unavailable",
      hint: expect.stringContaining("HODEI_LOG_ARCHIVE"),
    }),
  );
});

test("reads objects that somebody stores by hand no further than their names", async () => {
  const { directory, objects, open } = await newPlace();
  await put(objects, `${String(later).padStart(15, "0")}-${"a".repeat(24)}.pack`);
  const store = await open();
  const writer = await writeEnded(store);
  await untilDropped(directory);
  expect(await readAll(store, writer.attempt)).toEqual(writer.records);
});

async function put(objects: ObjectStore, key: string): Promise<void> {
  await objects.put(key, import.meta.filename);
}
