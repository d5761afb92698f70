import { readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { noMark, type Frame } from "#logstore/frames/frame.ts";
import type { PendingFrame } from "#logstore/files/journal.ts";
import { FileLog } from "#logstore/files/log.ts";
import { openFileLogStore } from "#logstore/files/open.ts";
import { Valve } from "#logstore/files/valve.ts";
import { readAll, Writer } from "../conformance/log-model.ts";
import { later, newFolder, newWarnings } from "./folder.ts";

const sizes = { segmentBytes: 100_000, journalBytes: 200_000 };
const quotaBytesPerAttempt = 1024 ** 3;
const boundBytes = 400_000;
const line = `${"x".repeat(19_999)}\n`;

function journalBytes(directory: string): number {
  const folder = join(directory, "journal");
  let bytes = 0;
  for (const name of readdirSync(folder)) {
    bytes += statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

describe("a journal that is written faster than it is shortened", () => {
  test("stays within its bound, and loses nothing", async () => {
    const directory = newFolder();
    await using store = await openFileLogStore({ directory, quotaBytesPerAttempt, ...sizes });
    const writers = [new Writer(), new Writer()];
    let most = 0;
    await Promise.all(
      writers.map(async (writer) => {
        const batches = Array.from({ length: 250 }, () => writer.lines(line));
        for (const flight of batches.map((batch) => store.append(writer.attempt, batch))) {
          await flight;
          most = Math.max(most, journalBytes(directory));
        }
        await store.end(writer.attempt, { expiresAt: later });
      }),
    );
    // One group may be on its way when the bound is reached.
    expect(most).toBeLessThan(boundBytes + 2 * sizes.segmentBytes);
    for (const writer of writers) {
      expect(await readAll(store, writer.attempt)).toEqual(writer.records);
    }
  });

  test("refuses what would wait for ever as on a full disk, and goes on when it can", async () => {
    const directory = newFolder();
    const log = newWarnings();
    const options = { directory, quotaBytesPerAttempt, ...sizes, log };
    await using store = await openFileLogStore(options);
    const parts = join(directory, "parts");
    renameSync(parts, `${parts}.away`);
    writeFileSync(parts, "in the way");
    const [noisy, quiet] = [new Writer(), new Writer()];
    let waiting = noisy.lines(line);
    for (;;) {
      const outcome = await store.append(noisy.attempt, waiting).catch((error: unknown) => error);
      if (outcome !== undefined) {
        expect(outcome).toMatchObject({ code: "resource_exhausted" });
        break;
      }
      waiting = noisy.lines(line);
    }
    expect(journalBytes(directory)).toBeGreaterThanOrEqual(boundBytes);
    await store.append(quiet.attempt, quiet.lines("not in the way\n"));
    rmSync(parts);
    renameSync(`${parts}.away`, parts);
    // A round that began before there was room again may still refuse it.
    await vi.waitFor(() => store.append(noisy.attempt, waiting));
    await expect.poll(() => journalBytes(directory)).toBeLessThan(boundBytes);
    for (const { attempt, records } of [noisy, quiet]) {
      expect(await readAll(store, attempt)).toEqual(records);
    }
    expect(log.messages.length).toBeGreaterThan(0);
  });
});

describe("a full journal", () => {
  /** A valve before a journal that says it is full, until it is emptied. */
  function newValve() {
    const passed: PendingFrame[] = [];
    const journal = {
      bytes: 1_000_000,
      queuedBytes: 0,
      add: (pending: PendingFrame) => void passed.push(pending),
    };
    const logs = new Map(
      [1, 2].map((key) => [key, new FileLog(new Writer().attempt, { halfBytesOf: () => 500 })]),
    );
    const [noisy, quiet] = [...logs.values()];
    if (noisy === undefined || quiet === undefined) throw new Error("there are two logs");
    noisy.journalBytes = 900_000;
    let asked = 0;
    const valve = new Valve({ journal, logs, boundBytes: 1_000_000, shorten: () => asked++ });
    return { valve, journal, passed, noisy, quiet, asked: () => asked };
  }
  function frameOf(
    log: FileLog,
    number: number,
    refused: () => void = () => undefined,
  ): PendingFrame {
    const payload = Buffer.alloc(10);
    const { attempt } = log;
    const frame: Frame = { kind: "batch", attempt, number, mark: noMark, dropped: 0, payload };
    return { frame, stored: () => undefined, refused };
  }

  test("holds back the log that fills it and no other, and lets it go in order", () => {
    const { valve, journal, passed, noisy, quiet, asked } = newValve();
    const frames = [frameOf(noisy, 1), frameOf(noisy, 2)];
    for (const frame of frames) valve.add(noisy, frame);
    const other = frameOf(quiet, 1);
    valve.add(quiet, other);
    expect(passed).toEqual([other]);
    expect(asked()).toBeGreaterThan(0);
    journal.bytes = 0;
    valve.settle("shortened");
    expect(passed).toEqual([other, ...frames]);
    expect(noisy.heldFrames).toBe(0);
  });

  test("keeps the order of a log when there is room before its waiting frames were let go", () => {
    const { valve, journal, passed, noisy } = newValve();
    const frames = [frameOf(noisy, 1), frameOf(noisy, 2)];
    const [first, second] = frames;
    if (first === undefined || second === undefined) throw new Error("there are two frames");
    valve.add(noisy, first);
    journal.bytes = 0;
    valve.add(noisy, second);
    expect(passed).toEqual([]);
    valve.written();
    expect(passed).toEqual(frames);
  });

  test("refuses what waits when it cannot be shortened", () => {
    const { valve, passed, noisy } = newValve();
    let refused = 0;
    const count = () => void refused++;
    valve.add(noisy, frameOf(noisy, 1, count));
    valve.settle("stuck");
    expect({ refused, held: noisy.heldFrames, passed }).toEqual({
      refused: 1,
      held: 0,
      passed: [],
    });
  });
});
