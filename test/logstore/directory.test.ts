import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openDirectoryObjects } from "#logstore/directory/objects.ts";
import { openFileLogStore } from "#logstore/files/open.ts";
import { readAll, Writer } from "../conformance/log-model.ts";
import { keysOf } from "../fake/s3.ts";
import { later, newFolder, quotaBytesPerAttempt } from "./folder.ts";

function fileOf(bytes: Buffer): string {
  const path = join(newFolder(), "file");
  writeFileSync(path, bytes);
  return path;
}

test("gives back ranges of what was stored", async () => {
  const objects = await openDirectoryObjects(newFolder());
  const bytes = Buffer.from("0123456789".repeat(1_000));
  await objects.put("key", fileOf(bytes));
  await objects.put("key", fileOf(bytes));
  await objects.write("ab/other", bytes);
  for (const key of ["key", "ab/other"]) {
    expect(await objects.read(key, 0, 10_000)).toEqual(bytes);
    expect(await objects.read(key, 13, 5)).toEqual(Buffer.from("34567"));
  }
  expect(await objects.read("ab/none", 0, 5)).toBeUndefined();
  await expect(objects.read("key", 9_999, 5)).rejects.toThrow(
    expect.objectContaining({ code: "unavailable" }),
  );
});

test("lists in the order of the keys, without what is not finished, and deletes with the folder", async () => {
  const folder = newFolder();
  const objects = await openDirectoryObjects(folder);
  const keys = ["a-b", "a/2", "a/3", "b"];
  for (const key of keys.toReversed()) await objects.write(key, Buffer.from("x"));
  writeFileSync(join(folder, "a", "4.0123456789ab.tmp"), "half");
  expect(await keysOf(objects)).toEqual(keys);
  for (const key of ["a/2", "a/2", "a/3", "nowhere/1"]) await objects.delete(key);
  expect(await keysOf(objects)).toEqual(["a-b", "b"]);
  const other = join(folder, "other");
  mkdirSync(other);
  await objects.write("other/1", Buffer.from("x"));
  await objects.delete("other/1");
  expect(readdirSync(folder)).not.toContain("other");
});

test("two that store the same at the same time leave it whole", async () => {
  const folder = newFolder();
  const [one, other] = [await openDirectoryObjects(folder), await openDirectoryObjects(folder)];
  const bytes = Buffer.alloc(100_000, "x");
  await Promise.all([one.write("a/1", bytes), other.write("a/1", bytes)]);
  expect(await one.read("a/1", 0, bytes.length)).toEqual(bytes);
  expect(readdirSync(join(folder, "a"))).toEqual(["1"]);
});

test("says which folder cannot be used, and refuses a key that leaves it", async () => {
  const file = fileOf(Buffer.from("x"));
  await expect(openDirectoryObjects(join(file, "folder"))).rejects.toThrow(join(file, "folder"));
  const folder = newFolder();
  const objects = await openDirectoryObjects(folder);
  await expect(objects.write("../escaped", Buffer.from("x"))).rejects.toThrow("cannot write");
  writeFileSync(join(folder, "a"), "");
  await expect(objects.write("a/1", Buffer.from("x"))).rejects.toThrow(
    expect.objectContaining({ code: "unavailable", message: expect.stringContaining(folder) }),
  );
});

test("the files of one server are archived to a folder, and read from there", async () => {
  const [directory, volume] = [newFolder(), newFolder()];
  const objects = await openDirectoryObjects(volume);
  const shipping = { objects, delayMs: 0, localMs: 0, localBytes: 0 };
  await using store = await openFileLogStore({ directory, quotaBytesPerAttempt, shipping });
  const writer = new Writer();
  await store.append(writer.attempt, writer.lines("one\n", "two\n"));
  await store.end(writer.attempt, { expiresAt: later });
  const packs = () =>
    readdirSync(join(directory, "archive")).filter((name) => name.endsWith(".pack"));
  await expect.poll(async () => [packs().length, (await keysOf(objects)).length]).toEqual([0, 1]);
  expect(await readAll(store, writer.attempt)).toEqual(writer.records);
});
