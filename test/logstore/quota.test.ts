import { describe, expect, test } from "vitest";
import { openFileLogStore } from "#logstore/files/open.ts";
import type { LogStore } from "#logstore/logstore.ts";
import { readAll, Writer, type Seen } from "../conformance/log-model.ts";
import { later, newFolder } from "./folder.ts";

const quotaBytesPerAttempt = 200_000;
const line = `${"x".repeat(999)}\n`;

/** What is read must be the head, one gap that counts exactly, and the tail up to the last record. */
function expectHeadAndTail(seen: readonly Seen[], writer: Writer): void {
  const at = seen.findIndex(({ text }) => text.startsWith("gap:"));
  const gap = seen[at];
  const missing = writer.records.length - (seen.length - 1);
  expect(seen.slice(0, at)).toEqual(writer.records.slice(0, at));
  expect(gap).toEqual({ stream: "stdout", sequence: at + 1, text: expect.anything() });
  expect(gap?.text).toBe(`gap:quota:${missing}:${missing * line.length}`);
  expect(seen.slice(at + 1)).toEqual(writer.records.slice(at + missing));
  expect(at * line.length).toBeGreaterThan(quotaBytesPerAttempt / 2 - 20_000);
  expect((seen.length - at) * line.length).toBeGreaterThan(quotaBytesPerAttempt / 2 - 20_000);
}

async function writeNoise(store: LogStore, writer: Writer, batches: number): Promise<void> {
  for (let round = 0; round < batches; round++) {
    await store.append(writer.attempt, writer.lines(...Array<string>(10).fill(line)));
  }
}

describe.for([
  { name: "in the journal", segmentBytes: 1 << 20, journalBytes: 1 << 24 },
  { name: "moved to parts", segmentBytes: 30_000, journalBytes: 60_000 },
])("a noisy log $name", ({ segmentBytes, journalBytes }) => {
  const openIn = (directory: string) =>
    openFileLogStore({ directory, quotaBytesPerAttempt, segmentBytes, journalBytes });

  test("keeps its head and its tail, with a gap between, open, reopened and ended", async () => {
    const directory = newFolder();
    const writer = new Writer();
    {
      await using store = await openIn(directory);
      await writeNoise(store, writer, 200);
      expectHeadAndTail(await readAll(store, writer.attempt), writer);
    }
    {
      await using store = await openIn(directory);
      expectHeadAndTail(await readAll(store, writer.attempt), writer);
      await writeNoise(store, writer, 100);
      await store.end(writer.attempt, { expiresAt: later });
      expectHeadAndTail(await readAll(store, writer.attempt, { follow: true }), writer);
    }
    await using store = await openIn(directory);
    expectHeadAndTail(await readAll(store, writer.attempt), writer);
    const tail = await readAll(store, writer.attempt, { tailLines: 5 });
    expect(tail).toEqual(writer.records.slice(-5));
  });
});

test("another log is not touched by the noise", async () => {
  const sizes = { segmentBytes: 50_000, journalBytes: 100_000 };
  const options = { directory: newFolder(), quotaBytesPerAttempt, ...sizes };
  await using store = await openFileLogStore(options);
  const quiet = new Writer();
  const noisy = new Writer();
  for (let round = 0; round < 12; round++) {
    await store.append(quiet.attempt, quiet.lines(`${round}\n`));
    await writeNoise(store, noisy, 10);
  }
  expect(await readAll(store, quiet.attempt)).toEqual(quiet.records);
});
