import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { noSequences } from "#log/record.ts";
import { RecentFrames } from "#logstore/files/cache.ts";
import { noMark, type Frame } from "#logstore/frames/frame.ts";
import type { Entry } from "#logstore/files/log.ts";
import { openSegment } from "#logstore/files/segment.ts";
import { openFileLogStore } from "#logstore/files/open.ts";
import type { StoredBatch } from "#logstore/logstore.ts";
import { readAll, Writer } from "../conformance/log-model.ts";
import { later, newFolder, quotaBytesPerAttempt } from "./folder.ts";

const signal = new AbortController().signal;
const follow = { after: noSequences, follow: true, signal };

test("followers who keep up share one buffer, the one that was appended", async () => {
  await using store = await openFileLogStore({ directory: newFolder(), quotaBytesPerAttempt });
  const writer = new Writer();
  await store.append(writer.attempt, writer.lines("first\n"));
  const readers = Array.from({ length: 10 }, () =>
    store.read(writer.attempt, follow)[Symbol.asyncIterator](),
  );
  await Promise.all(readers.map((reader) => reader.next()));
  const batch = writer.lines("second\n");
  const next = readers.map((reader) => reader.next());
  await store.append(writer.attempt, batch);
  for (const { value } of await Promise.all(next)) {
    expect((value as StoredBatch).bytes).toBe(batch.bytes);
  }
  for (const reader of readers) await reader.return?.();
});

test("batches that followers share are bounded, however many come", async () => {
  const recent = new RecentFrames(1_000);
  const segment = await openSegment(newFolder(), 1);
  const payload = Buffer.alloc(300);
  const { attempt } = new Writer();
  const frame: Frame = { kind: "batch", attempt, number: 1, mark: noMark, dropped: 0, payload };
  const entries = Array.from({ length: 5_000 }, (_, index): Entry => {
    const place = { number: index + 1, at: 0, last: noSequences, frame: undefined };
    return { ...place, segment, payloadBytes: payload.length };
  });
  for (const entry of entries) {
    recent.put(entry, frame);
    expect(recent.bytes).toBeLessThanOrEqual(1_000);
  }
  expect(entries.filter((entry) => entry.frame !== undefined)).toEqual(entries.slice(-3));
  await segment.close();
});

test("a log that has ended leaves memory and the journal for the archive, and is read from there", async () => {
  const sizes = { segmentBytes: 20_000, journalBytes: 20_000 };
  const directory = newFolder();
  await using store = await openFileLogStore({ directory, quotaBytesPerAttempt, ...sizes });
  const writers = Array.from({ length: 100 }, () => new Writer());
  for (const writer of writers) {
    await store.append(writer.attempt, writer.lines(`${writer.attempt} ${"y".repeat(500)}\n`));
    await store.end(writer.attempt, { expiresAt: later });
  }
  await expect.poll(() => readdirSync(join(directory, "archive")).length).toBeGreaterThan(0);
  await expect.poll(() => readdirSync(join(directory, "journal")).length).toBeLessThan(5);
  for (const writer of writers)
    expect(await readAll(store, writer.attempt)).toEqual(writer.records);
  await store.expire(later);
  expect(await store.expire(later)).toBe(100);
  expect(readdirSync(join(directory, "archive"))).toEqual([]);
});

test("a log in a file with others is hidden when its own time has come", async () => {
  const sizes = { segmentBytes: 1, journalBytes: 1 };
  let now = Date.now();
  const options = { directory: newFolder(), quotaBytesPerAttempt, ...sizes, now: () => now };
  await using store = await openFileLogStore(options);
  const base = Math.ceil(now / 3_600_000) * 3_600_000;
  const [early, late] = [new Writer(), new Writer()];
  await Promise.all(
    [early, late].map(async (writer, index) => {
      await store.append(writer.attempt, writer.lines("x\n"));
      await store.end(writer.attempt, { expiresAt: base + index * 60_000 });
    }),
  );
  now = base;
  expect(await store.findLog(early.attempt)).toBeUndefined();
  expect((await readAll(store, early.attempt)).map(({ text }) => text)).not.toContain("x\n");
  expect(await readAll(store, late.attempt)).toEqual(late.records);
});
