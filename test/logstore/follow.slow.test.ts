import { expect, test } from "vitest";
import { noSequences } from "#log/record.ts";
import { openFileLogStore } from "#logstore/files/open.ts";
import type { StoredBatch } from "#logstore/logstore.ts";
import { seenIn, Writer } from "../conformance/log-model.ts";
import { later, newFolder, quotaBytesPerAttempt } from "./folder.ts";

const signal = new AbortController().signal;
const follow = { after: noSequences, follow: true, signal };

test("a slow follower still reads everything across moves into the archive", async () => {
  const sizes = { segmentBytes: 100_000, journalBytes: 200_000, cacheBytes: 100_000 };
  const directory = newFolder();
  await using store = await openFileLogStore({ directory, quotaBytesPerAttempt, ...sizes });
  const writer = new Writer();
  await store.append(writer.attempt, writer.lines("first\n"));
  const slow = store.read(writer.attempt, follow)[Symbol.asyncIterator]();
  const batches: StoredBatch[] = [(await slow.next()).value as StoredBatch];
  const text = `${"x".repeat(9_999)}\n`;
  for (let round = 0; round < 400; round++) {
    await store.append(writer.attempt, writer.lines(text, text, text));
    if (round % 100 === 0) batches.push((await slow.next()).value as StoredBatch);
    writer.records.splice(1); // Not the test's memory either.
  }
  await store.end(writer.attempt, { expiresAt: later });
  for (let ended = false; !ended;) {
    const { done, value } = await slow.next();
    if (done === true) ended = true;
    else batches.push(value);
  }
  const seen = seenIn(batches);
  expect(seen.map(({ sequence }) => sequence)).toEqual(seen.map((_, index) => index + 1));
  expect(seen).toHaveLength(1 + 3 * 400);
});

/** Most bytes of buffers while a log of 200 MB is written that so many followers do not read on. */
async function peakBytes(followers: number, cacheBytes: number): Promise<number> {
  const directory = newFolder();
  await using store = await openFileLogStore({ directory, quotaBytesPerAttempt, cacheBytes });
  const writer = new Writer();
  await store.append(writer.attempt, writer.lines("first\n"));
  const stuck = Array.from({ length: followers }, () =>
    store.read(writer.attempt, follow)[Symbol.asyncIterator](),
  );
  await Promise.all(stuck.map((reader) => reader.next()));
  const text = `${"x".repeat(60_000)}\n`;
  let most = 0;
  for (let round = 0; round < 350; round++) {
    const batches = Array.from({ length: 10 }, () => writer.lines(text));
    await Promise.all(batches.map((batch) => store.append(writer.attempt, batch)));
    writer.records.length = 0; // Not the test's memory.
    most = Math.max(most, process.memoryUsage().arrayBuffers);
  }
  for (const reader of stuck) await reader.return?.();
  return most;
}

test("followers who do not read cost no memory beyond the one cache", async () => {
  const cacheBytes = 8 * 1024 * 1024;
  const alone = await peakBytes(0, cacheBytes);
  // When garbage is collected is nobody's promise; what the followers need shows every time.
  const followed = Math.min(await peakBytes(10, cacheBytes), await peakBytes(10, cacheBytes));
  expect((followed - cacheBytes) / alone).toBeLessThan(1.6);
});
