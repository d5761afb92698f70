import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { ObjectStore } from "#logstore/object-store.ts";
import { FakeS3, keysOf } from "../fake/s3.ts";
import { newFolder } from "./folder.ts";

let s3: FakeS3;
let objects: ObjectStore;
let prefixes = 0;
beforeAll(async () => {
  s3 = await FakeS3.start();
});
afterAll(async () => {
  await s3[Symbol.asyncDispose]();
});
beforeEach(async () => {
  s3.fault = "none";
  objects = await s3.open({ prefix: `p${prefixes++}` });
});

function fileOf(bytes: Buffer): string {
  const path = join(newFolder(), "file");
  writeFileSync(path, bytes);
  return path;
}

const unavailable = expect.objectContaining({
  code: "unavailable",
  message: expect.stringContaining("s3://hodei/p"),
});

test("gives back ranges of what was stored", async () => {
  const bytes = Buffer.from("0123456789".repeat(1_000));
  await objects.put("key", fileOf(bytes));
  await objects.put("key", fileOf(bytes));
  expect(await objects.read("key", 0, 10_000)).toEqual(bytes);
  expect(await objects.read("key", 13, 5)).toEqual(Buffer.from("34567"));
  expect(await objects.read("other", 0, 5)).toBeUndefined();
  await objects.write("folder/other", bytes);
  expect(await objects.read("folder/other", 13, 5)).toEqual(Buffer.from("34567"));
});

test("lists its own prefix in order, more than a page of it, and deletes", async () => {
  const path = fileOf(Buffer.from("x"));
  const keys = Array.from({ length: 25 }, (_, at) => String(at).padStart(5, "0"));
  await Promise.all(keys.map((key) => objects.put(key, path)));
  s3.pageKeys = 10;
  const other = await s3.open({ prefix: "elsewhere" });
  await other.put("key", path);
  expect(await keysOf(objects)).toEqual(keys);
  for await (const { bytes } of other.list()) expect(bytes).toBe(1);
  await objects.delete("00000");
  await objects.delete("00000");
  expect(await keysOf(objects)).toEqual(keys.slice(1));
});

test.for(["refused", "error", "truncated", "forbidden"] as const)(
  "answers unavailable with the archive's name when it is %s",
  async (fault) => {
    const path = fileOf(Buffer.from("0123456789"));
    await objects.put("key", path);
    s3.fault = fault;
    await expect(objects.read("key", 0, 10)).rejects.toThrow(unavailable);
    if (fault === "truncated") return;
    await expect(objects.put("key2", path)).rejects.toThrow(unavailable);
    await expect(objects.write("key2", Buffer.from("x"))).rejects.toThrow(unavailable);
    await expect(keysOf(objects)).rejects.toThrow(unavailable);
    await expect(objects.delete("key")).rejects.toThrow(unavailable);
  },
);

test("waits for a server that hangs no longer than its time", async () => {
  const short = await s3.open({ timeoutMs: 50 });
  s3.fault = "hangs";
  await expect(short.read("key", 0, 1)).rejects.toThrow(
    expect.objectContaining({ code: "unavailable" }),
  );
  await expect(short.put("key", fileOf(Buffer.from("x")))).rejects.toThrow(
    expect.objectContaining({ code: "unavailable" }),
  );
});

test("tries again what may pass, and not what was refused", async () => {
  const path = fileOf(Buffer.from("x"));
  const patient = await s3.open({ tries: 1_000, firstPauseMs: 0 });
  s3.fault = "error";
  const before = s3.calls.length;
  const writing = patient.put("key", path);
  await expect.poll(() => s3.calls.length).toBeGreaterThan(before + 1);
  s3.fault = "none";
  await writing;
  s3.fault = "forbidden";
  const calls = s3.calls.length;
  await expect(objects.put("key", path)).rejects.toThrow(unavailable);
  expect(s3.calls.length).toBe(calls + 1);
});

test("ends calls under way when it is closed", async () => {
  s3.fault = "hangs";
  const reading = objects.read("key", 0, 1);
  const outcome = reading.catch((error: unknown) => error);
  await objects[Symbol.asyncDispose]();
  expect(await outcome).toMatchObject({ code: "unavailable" });
});
