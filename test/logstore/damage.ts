import { cpSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { openFileLogStore } from "#logstore/files/open.ts";
import type { NewBatch } from "#logstore/logstore.ts";
import { readAll, Writer, type Seen } from "../conformance/log-model.ts";
import { newFolder, newWarnings, quotaBytesPerAttempt } from "./folder.ts";

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

/** The first file of a journal. */
export function journalOf(directory: string): string {
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

/** A journal that ends anywhere in its last frames is cut to whole batches, and takes the rest again; tried at every `step`-th place. Resolves to how many that were. */
export async function cutEverywhere(step: number): Promise<number> {
  let places = 0;
  const { directory, writers, sent } = await written();
  const size = statSync(journalOf(directory)).size;
  for (let length = size - 250; length < size; length += step) {
    places++;
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
  return places;
}

/** A wrong bit anywhere gives no wrong byte, and what is missing is told; tried at every `step`-th byte. Resolves to how many that were. */
export async function flipEverywhere(step: number): Promise<number> {
  let places = 0;
  const { directory, writers } = await written();
  const good = readFileSync(journalOf(directory));
  // Only the first of these is used below: each copy gets the same next batches.
  const next = writers.map((writer) => writer.lines("after the damage\n"));
  for (let at = 0; at < good.length; at += step) {
    places++;
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
  return places;
}
