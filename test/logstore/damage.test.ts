import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openFileLogStore } from "#logstore/files/open.ts";
import { readAll, Writer } from "../conformance/log-model.ts";
import { cutEverywhere, flipEverywhere, journalOf } from "./damage.ts";
import { later, newFolder, newWarnings, quotaBytesPerAttempt } from "./folder.ts";

describe("a journal", () => {
  test("that ends in a frame is cut to whole batches, and takes the rest again", async () => {
    expect(await cutEverywhere(47)).toBeGreaterThan(4);
  });

  test("with a wrong bit gives no wrong byte, tells what is missing, and goes on", async () => {
    expect(await flipEverywhere(131)).toBeGreaterThan(7);
  });

  test("that is damaged while the store is open gives a gap to the reader", async () => {
    const directory = newFolder();
    const log = newWarnings();
    await using store = await openFileLogStore({ directory, quotaBytesPerAttempt, log });
    const writer = new Writer();
    for (const text of ["one\n", "two\n", "three\n"]) {
      await store.append(writer.attempt, writer.lines(text));
    }
    const bytes = readFileSync(journalOf(directory));
    bytes[bytes.indexOf("two")] = 0;
    writeFileSync(journalOf(directory), bytes);
    const seen = await readAll(store, writer.attempt);
    expect(seen.map(({ text }) => text)).toEqual(["one\n", "gap:corrupt:1:4", "three\n"]);
    expect(log.messages).toHaveLength(1);
  });
});

test("an archive that is damaged gives a gap for what it hit", async () => {
  const directory = newFolder();
  const options = { directory, quotaBytesPerAttempt, segmentBytes: 1, journalBytes: 1 };
  const writer = new Writer();
  {
    await using store = await openFileLogStore(options);
    await store.append(writer.attempt, writer.lines("one\n", "two\n"));
    await store.end(writer.attempt, { expiresAt: later });
  }
  const [name = ""] = readdirSync(join(directory, "archive"));
  const path = join(directory, "archive", name);
  const bytes = readFileSync(path);
  bytes[bytes.indexOf("two")] = 0;
  writeFileSync(path, bytes);
  await using store = await openFileLogStore(options);
  expect(await readAll(store, writer.attempt)).toEqual([
    { stream: "stdout", sequence: 1, text: "gap:corrupt:2:8" },
  ]);
});

test.for(["journal", "payload"])(
  "an end keeps its expiry when its %s is read again, whole or damaged",
  async (what) => {
    const directory = newFolder();
    const writer = new Writer();
    const expiresAt = later + 90 * 24 * 3_600_000;
    {
      await using store = await openFileLogStore({ directory, quotaBytesPerAttempt });
      await store.append(writer.attempt, writer.lines("one\n"));
      await store.end(writer.attempt, { expiresAt, missing: "lost" });
    }
    const bytes = readFileSync(journalOf(directory));
    if (what === "payload") bytes[bytes.lastIndexOf("expiresAt")] = 0;
    writeFileSync(journalOf(directory), bytes);
    await using store = await openFileLogStore({ directory, quotaBytesPerAttempt });
    const state = await store.findLog(writer.attempt);
    expect(state?.hasEnded).toBe(true);
    expect(state?.expiresAt).toBeGreaterThanOrEqual(expiresAt);
    expect(state?.expiresAt).toBeLessThan(expiresAt + 60_000);
    const seen = await readAll(store, writer.attempt);
    expect(seen.map(({ text }) => text)).toEqual(["one\n", "gap:lost:0:0"]);
  },
);
