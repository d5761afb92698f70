import { cpSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openFileLogStore, type FileLogStoreOptions } from "#logstore/files/open.ts";
import { readAll, Writer } from "../conformance/log-model.ts";
import { FakeS3 } from "../fake/s3.ts";
import { later, newFolder, newWarnings, quotaBytesPerAttempt } from "./folder.ts";

async function openFor(directory: string, options: Partial<FileLogStoreOptions> = {}) {
  const store = await openFileLogStore({ directory, quotaBytesPerAttempt, ...options });
  onTestFinished(() => store[Symbol.asyncDispose]());
  return store;
}

/** So small that everything moves all the time. */
const crowded = { segmentBytes: 20_000, journalBytes: 40_000 };

test("a backup has everything that was acknowledged before it, while writers go on", async () => {
  const directory = newFolder();
  const store = await openFor(directory, crowded);
  const writers = Array.from({ length: 12 }, () => new Writer());
  const ended = new Set<Writer>();
  let isOver = false;
  const writing = writers.map(async (writer, index) => {
    for (let round = 0; !isOver && round < 300; round++) {
      const line = `${round} ${"x".repeat((index * 331) % 2_000)}\n`;
      await store.append(writer.attempt, writer.lines(line));
      if (round > 30 && index % 3 === 0) {
        await store.end(writer.attempt, { expiresAt: later });
        ended.add(writer);
        return;
      }
    }
  });
  for (let round = 0; round < 4; round++) {
    await expect.poll(() => writers.every(({ records }) => records.length > round * 4)).toBe(true);
    const known = new Map(writers.map((writer) => [writer, store.findLog(writer.attempt)]));
    const wasEnded = new Set(ended);
    const acknowledged = new Map<Writer, number>();
    for (const [writer, state] of known) acknowledged.set(writer, (await state)?.last.stdout ?? 0);
    const copy = join(newFolder(), "copy");
    await store.backup(copy);
    const warnings = newWarnings();
    const restored = await openFor(copy, { ...crowded, log: warnings });
    for (const writer of writers) {
      const read = await readAll(restored, writer.attempt);
      expect(read.length).toBeGreaterThanOrEqual(acknowledged.get(writer) ?? 0);
      expect(read).toEqual(writer.records.slice(0, read.length));
      const state = await restored.findLog(writer.attempt);
      if (wasEnded.has(writer)) expect(state).toMatchObject({ hasEnded: true });
    }
    expect(warnings.messages).toEqual([]);
    await restored[Symbol.asyncDispose]();
  }
  isOver = true;
  await Promise.all(writing);
  expect(readdirSync(directory).filter((name) => name.startsWith("backup-"))).toEqual([]);
});

test("what is written to a restored copy leaves the original alone", async () => {
  const directory = newFolder();
  const store = await openFor(directory);
  const writer = new Writer();
  await store.append(writer.attempt, writer.lines("one\n"));
  const backup = join(newFolder(), "backup");
  await store.backup(backup);
  const place = join(newFolder(), "place");
  cpSync(backup, place, { recursive: true });
  const copy = await openFor(place);
  const [here, there] = [writer.lines("two\n"), writer.records.length];
  await copy.append(writer.attempt, here);
  await copy.end(writer.attempt, { expiresAt: later });
  expect(await readAll(copy, writer.attempt)).toHaveLength(2);
  expect(await readAll(store, writer.attempt)).toHaveLength(there - 1);
});

test("deletes at the next start what a backup left that was interrupted", async () => {
  const directory = newFolder();
  const first = await openFor(directory);
  await first[Symbol.asyncDispose]();
  const left = join(directory, "backup-abc");
  cpSync(join(directory, "journal"), left, { recursive: true });
  await openFor(directory);
  expect(existsSync(left)).toBe(false);
});

test("a backup knows what is archived elsewhere", async () => {
  await using s3 = await FakeS3.start();
  const shipping = async () => ({
    objects: await s3.open({ prefix: "p" }),
    delayMs: 0,
    localMs: 0,
    localBytes: 0,
  });
  const directory = newFolder();
  const store = await openFor(directory, { shipping: await shipping() });
  const writer = new Writer();
  await store.append(writer.attempt, writer.lines("one\n"));
  await store.end(writer.attempt, { expiresAt: later });
  const packs = () => readdirSync(join(directory, "archive")).map((name) => name.slice(-5));
  await expect.poll(packs).toEqual([".tail"]);
  const backup = join(newFolder(), "backup");
  await store.backup(backup);
  await store[Symbol.asyncDispose]();
  const restored = await openFor(backup, { shipping: await shipping() });
  expect(await readAll(restored, writer.attempt)).toEqual(writer.records);
  await restored[Symbol.asyncDispose]();
});
