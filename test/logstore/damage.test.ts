import { cpSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openFileLogStore } from "#logstore/files/open.ts";
import type { NewBatch } from "#logstore/logstore.ts";
import { readAll, Writer, type Seen } from "../conformance/log-model.ts";
import { later, newFolder, newWarnings, quotaBytesPerAttempt } from "./folder.ts";

/** A store with two open logs of three batches each, and what was sent. */
async function written() {
  const directory = newFolder();
  const writers = [new Writer(), new Writer()];
  const sent = new Map<Writer, NewBatch[]>(writers.map((writer) => [writer, []]));
  await using store = await openFileLogStore({ directory, quotaBytesPerAttempt });
  for (let round = 0; round < 3; round++) {
    for (const writer of writers) {
      const batch = writer.batch(["stdout", `line ${round}\n`], ["stderr", "e\n"]);
      sent.get(writer)?.push(batch);
      await store.append(writer.attempt, batch);
    }
  }
  return { directory, writers, sent };
}

function journalOf(directory: string): string {
  const [name = ""] = readdirSync(join(directory, "journal"));
  return join(directory, "journal", name);
}

/** Sequence numbers that are neither read nor covered by a gap. */
function uncovered(seen: readonly Seen[], wanted: readonly Seen[]): Seen[] {
  return wanted.filter(({ stream, sequence, text }) =>
    seen.every((found) => {
      if (found.stream !== stream) return true;
      const gap = /^gap:corrupt:(\d+)/.exec(found.text);
      if (gap === null) return found.sequence !== sequence || found.text !== text;
      return sequence < found.sequence || sequence >= found.sequence + Number(gap[1]);
    }),
  );
}

describe("a journal", () => {
  test("that ends anywhere is cut to whole batches, and takes the rest again", async () => {
    const { directory, writers, sent } = await written();
    const size = statSync(journalOf(directory)).size;
    for (let length = size - 250; length < size; length++) {
      const copy = join(newFolder(), "copy");
      cpSync(directory, copy, { recursive: true });
      truncateSync(journalOf(copy), length);
      await using store = await openFileLogStore({ directory: copy, quotaBytesPerAttempt });
      for (const writer of writers) {
        const read = await readAll(store, writer.attempt);
        expect(read).toEqual(writer.records.slice(0, read.length));
        for (const batch of sent.get(writer) ?? []) await store.append(writer.attempt, batch);
        expect(await readAll(store, writer.attempt)).toEqual(writer.records);
      }
    }
  });

  test("with a wrong bit anywhere gives no wrong byte, tells what is missing, and goes on", async () => {
    const { directory, writers } = await written();
    const good = readFileSync(journalOf(directory));
    // Only the first of these is used below: each copy gets the same next batches.
    const next = writers.map((writer) => writer.lines("after the damage\n"));
    for (let at = 0; at < good.length; at += 7) {
      const copy = join(newFolder(), "copy");
      cpSync(directory, copy, { recursive: true });
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ (1 << (at % 8));
      writeFileSync(journalOf(copy), bad);
      const log = newWarnings();
      await using store = await openFileLogStore({ directory: copy, quotaBytesPerAttempt, log });
      expect(log.messages.length).toBeGreaterThan(0);
      for (const [index, writer] of writers.entries()) {
        const batch = next[index];
        if (batch !== undefined) await store.append(writer.attempt, batch);
        const seen = await readAll(store, writer.attempt);
        const truth = new Set(writer.records.map((record) => JSON.stringify(record)));
        for (const record of seen) {
          if (!record.text.startsWith("gap:")) expect(truth).toContain(JSON.stringify(record));
        }
        const withStdout = writer.records.filter(({ stream }) => stream === "stdout");
        expect(uncovered(seen, withStdout)).toEqual([]);
      }
    }
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
