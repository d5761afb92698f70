import fc from "fast-check";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { logStreams, noSequences, type LogStream } from "#log/record.ts";
import type { LogStore, ReadOptions } from "#logstore/logstore.ts";
import { after, batchesOf, newAttempt, readAll, seenIn, Writer, type Seen } from "./log-model.ts";

/** Opens a store at a place; opening the same place again finds what was there. */
export type OpenLogStore = (directory: string) => Promise<LogStore>;

const later = Date.now() + 3_600_000;

/** What every log store promises; `cursorRuns` random logs are read from random places. */
export function logStoreConformance(name: string, open: OpenLogStore, cursorRuns = 25): void {
  describe(`${name} log store`, () => {
    let directory = "";
    let store: LogStore;
    beforeEach(async () => {
      directory = await mkdtemp(join(tmpdir(), "hodei-logstore-"));
      store = await open(directory);
    });
    afterEach(async () => {
      await store[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    });
    const reopen = async () => {
      await store[Symbol.asyncDispose]();
      store = await open(directory);
    };

    test("gives back what was appended", async () => {
      const writer = new Writer();
      await store.append(writer.attempt, writer.lines("one\n", "two\n"));
      await store.append(writer.attempt, writer.batch(["stderr", "oops\n"], ["system", "x"]));
      expect(await readAll(store, writer.attempt)).toEqual(writer.records);
      expect(await store.findLog(writer.attempt)).toEqual({
        batch: 2,
        last: { stdout: 2, stderr: 1, system: 1 },
        bytes: 14,
        hasEnded: false,
        expiresAt: undefined,
      });
    });

    test("keeps the bytes of a batch as they came", async () => {
      const writer = new Writer();
      const batch = writer.lines("\xff\x00\xfe\n", "");
      const copy = Buffer.from(batch.bytes);
      await store.append(writer.attempt, batch);
      const [read] = await batchesOf(store, writer.attempt);
      expect(Buffer.from(read?.bytes ?? [])).toEqual(copy);
    });

    test("gives the bytes of a batch back at most once, and never before they are stored", async () => {
      const writer = new Writer();
      const released: Uint8Array[] = [];
      const release = (bytes: Uint8Array) => {
        released.push(bytes);
        bytes.fill(0);
      };
      await store.append(writer.attempt, { ...writer.lines("one\n"), release });
      const stop = new AbortController();
      const following = readAll(store, writer.attempt, { follow: true, signal: stop.signal });
      for (const text of ["two\n", "three\n", "four\n"]) {
        await store.append(writer.attempt, { ...writer.lines(text), release });
      }
      await store.end(writer.attempt, { expiresAt: later });
      expect(await following).toEqual(writer.records);
      expect(await readAll(store, writer.attempt)).toEqual(writer.records);
      expect(released.length).toBe(new Set(released).size);
    });

    test("takes a batch that it has without change, also while it is on its way", async () => {
      const writer = new Writer();
      const batch = writer.lines("one\n");
      await Promise.all([store.append(writer.attempt, batch), store.append(writer.attempt, batch)]);
      await store.append(writer.attempt, batch);
      expect(await readAll(store, writer.attempt)).toEqual(writer.records);
    });

    test("refuses a batch that leaves a hole", async () => {
      const writer = new Writer();
      await expect(
        store.append(writer.attempt, { ...writer.lines("x\n"), number: 2 }),
      ).rejects.toThrow(expect.objectContaining({ code: "failed_precondition" }));
      expect(await store.findLog(writer.attempt)).toBeUndefined();
      writer.lines("never sent\n");
      await expect(
        store.append(writer.attempt, { ...writer.lines("x\n"), number: 1 }),
      ).rejects.toThrow(expect.objectContaining({ code: "failed_precondition" }));
    });

    test("refuses bytes that are no batch, and ids that are no attempt's", async () => {
      const refused = expect.objectContaining({ code: "invalid_argument" });
      const garbage = { number: 1, bytes: Buffer.from("garbage") };
      await expect(store.append(newAttempt(), garbage)).rejects.toThrow(refused);
      const path = "../../etc/passwd" as ReturnType<typeof newAttempt>;
      await expect(store.append(path, new Writer().lines("x\n"))).rejects.toThrow(refused);
      await expect(store.end(path, { expiresAt: later })).rejects.toThrow(refused);
      expect(store.stats().openLogs).toBe(0);
    });

    test("refuses a batch behind the end", async () => {
      const writer = new Writer();
      await store.append(writer.attempt, writer.lines("one\n"));
      await store.end(writer.attempt, { expiresAt: later });
      await expect(store.append(writer.attempt, writer.lines("two\n"))).rejects.toThrow(
        expect.objectContaining({ code: "aborted" }),
      );
    });

    test("keeps the first expiry when a log ends twice, also over a restart", async () => {
      const writer = new Writer();
      await store.append(writer.attempt, writer.lines("one\n"));
      await store.end(writer.attempt, { expiresAt: later });
      await store.end(writer.attempt, { expiresAt: later + 1 });
      await reopen();
      await store.end(writer.attempt, { expiresAt: later + 2 });
      const state = await store.findLog(writer.attempt);
      expect(state).toMatchObject({ hasEnded: true, expiresAt: later, batch: 1 });
      expect(await readAll(store, writer.attempt)).toEqual(writer.records);
    });

    test("ends a log that never began", async () => {
      const attempt = newAttempt();
      await store.end(attempt, { expiresAt: later });
      expect(await store.findLog(attempt)).toMatchObject({ batch: 0, bytes: 0, hasEnded: true });
      expect(await readAll(store, attempt, { follow: true })).toEqual([]);
    });

    test("says behind the last record that more was lost, once for a reader who resumes", async () => {
      const writer = new Writer();
      await store.append(writer.attempt, writer.lines("one\n"));
      await store.end(writer.attempt, { expiresAt: later, missing: "lost" });
      const batches = await batchesOf(store, writer.attempt);
      const lost: Seen = { stream: "stdout", sequence: 2, text: "gap:lost:0:0" };
      expect(seenIn(batches)).toEqual([...writer.records, lost]);
      const cursor = batches.at(-1)?.last ?? noSequences;
      expect(await readAll(store, writer.attempt, { after: cursor })).toEqual([]);
      const stderr = await readAll(store, writer.attempt, { stream: "stderr" });
      expect(stderr).toEqual([{ stream: "stderr", sequence: 1, text: "gap:lost:0:0" }]);
    });

    test("gives a follower history and then what comes, and finishes when the log ends", async () => {
      const writer = new Writer();
      await store.append(writer.attempt, writer.lines("one\n"));
      const first = Promise.withResolvers<void>();
      const followers = Array.from({ length: 4 }, async () => {
        const batches = [];
        const signal = new AbortController().signal;
        const options = { after: noSequences, follow: true, signal };
        for await (const batch of store.read(writer.attempt, options)) {
          batches.push(batch);
          first.resolve();
        }
        return seenIn(batches);
      });
      await first.promise;
      for (let round = 0; round < 50; round++) {
        await store.append(
          writer.attempt,
          writer.batch(["stdout", `${round}\n`], ["stderr", "e\n"]),
        );
      }
      await store.end(writer.attempt, { expiresAt: later });
      for (const seen of await Promise.all(followers)) expect(seen).toEqual(writer.records);
    });

    test("lets a follower wait for a log that is not there yet", async () => {
      const writer = new Writer();
      const following = readAll(store, writer.attempt, { follow: true });
      await store.append(writer.attempt, writer.lines("one\n"));
      await store.end(writer.attempt, { expiresAt: later });
      expect(await following).toEqual(writer.records);
      expect(await readAll(store, newAttempt())).toEqual([]);
    });

    test("lets a follower go when its signal aborts", async () => {
      const stop = new AbortController();
      const known = new Writer();
      await store.append(known.attempt, known.lines("one\n"));
      const waiting = [newAttempt(), known.attempt].map((attempt) =>
        readAll(store, attempt, { follow: true, signal: stop.signal }),
      );
      stop.abort();
      await Promise.all(waiting);
      expect(await readAll(store, known.attempt)).toEqual(known.records);
    });

    test("gives the last lines, whole ones also where a line has several records", async () => {
      const writer = new Writer();
      await store.append(writer.attempt, writer.lines("a\n", "b\n", "long "));
      await store.append(writer.attempt, writer.batch(["stdout", "line\n"], ["stderr", "e\n"]));
      await store.append(writer.attempt, writer.lines("half"));
      const texts = async (options: Partial<ReadOptions>) =>
        (await readAll(store, writer.attempt, options)).map(({ text }) => text);
      expect(await texts({ tailLines: 0 })).toEqual([]);
      expect(await texts({ tailLines: 1 })).toEqual(["half"]);
      expect(await texts({ tailLines: 2 })).toEqual(["e\n", "half"]);
      expect(await texts({ tailLines: 3 })).toEqual(["long ", "line\n", "e\n", "half"]);
      expect(await texts({ tailLines: 100 })).toEqual(writer.records.map(({ text }) => text));
      expect(await texts({ tailLines: 1, stream: "stderr" })).toEqual(["e\n"]);
      await store.end(writer.attempt, { expiresAt: later });
      await reopen();
      expect(await texts({ tailLines: 2, follow: true })).toEqual(["e\n", "half"]);
    });

    test("gives whole last lines also where another stream's lines interrupt them", async () => {
      const writer = new Writer();
      await store.append(writer.attempt, writer.batch(["stdout", "old\n"], ["stdout", "one "]));
      await store.append(writer.attempt, writer.batch(["stderr", "x\n"], ["stdout", "line\n"]));
      const texts = async (tailLines: number) =>
        (await readAll(store, writer.attempt, { tailLines })).map(({ text }) => text);
      expect(await texts(1)).toEqual(["one ", "line\n"]);
      expect(await texts(2)).toEqual(["one ", "x\n", "line\n"]);
      expect(await texts(3)).toEqual(["old\n", "one ", "x\n", "line\n"]);
    });

    test("deletes what has expired, and nothing earlier", async () => {
      const early = new Writer();
      const late = new Writer();
      for (const [writer, expiresAt] of [
        [early, later],
        [late, later + 3_600_000],
      ] as const) {
        await store.append(writer.attempt, writer.lines("x\n"));
        await store.end(writer.attempt, { expiresAt });
      }
      for (let sweep = 0; sweep < 3; sweep++) expect(await store.expire(later - 1)).toBe(0);
      expect(await readAll(store, early.attempt)).toEqual(early.records);
      expect((await store.expire(later)) + (await store.expire(later))).toBe(1);
      expect(await store.findLog(early.attempt)).toBeUndefined();
      expect(await readAll(store, early.attempt)).toEqual([]);
      expect(await readAll(store, late.attempt)).toEqual(late.records);
    });

    test("does not believe a clock that jumped until it has seen it twice", async () => {
      const writer = new Writer();
      await store.append(writer.attempt, writer.lines("x\n"));
      await store.end(writer.attempt, { expiresAt: later });
      expect(await store.expire(later + 1)).toBe(0);
      expect(await store.expire(later - 1)).toBe(0);
      expect(await readAll(store, writer.attempt)).toEqual(writer.records);
    });

    test("goes on with an open log after a restart", async () => {
      const writer = new Writer();
      await store.append(writer.attempt, writer.lines("one\n"));
      const repeated = writer.lines("two\n");
      await store.append(writer.attempt, repeated);
      await reopen();
      expect(store.stats()).toMatchObject({ openLogs: 1, isWritable: true });
      await store.append(writer.attempt, repeated);
      await store.append(writer.attempt, writer.lines("three\n"));
      await store.end(writer.attempt, { expiresAt: later });
      expect(store.stats().openLogs).toBe(0);
      expect(await readAll(store, writer.attempt)).toEqual(writer.records);
    });

    test("refuses to read and write once it is closed, and ends no follower as if its log had ended", async () => {
      const writer = new Writer();
      await store.append(writer.attempt, writer.lines("one\n"));
      const following = readAll(store, writer.attempt, { follow: true });
      const outcome = following.catch((error: unknown) => error);
      await store[Symbol.asyncDispose]();
      expect(await outcome).toMatchObject({ code: "unavailable" });
      await expect(store.append(writer.attempt, writer.lines("two\n"))).rejects.toThrow("closed");
      store = await open(directory);
    });

    test("keeps the logs of many attempts apart", async () => {
      const writers = Array.from({ length: 20 }, () => new Writer());
      await Promise.all(
        writers.map(async (writer, index) => {
          for (let round = 0; round < 10; round++) {
            await store.append(writer.attempt, writer.lines(`${index}:${round}\n`));
          }
          if (index % 2 === 0) await store.end(writer.attempt, { expiresAt: later });
        }),
      );
      await reopen();
      for (const { attempt, records } of writers) {
        expect(await readAll(store, attempt)).toEqual(records);
      }
    });

    test("gives exactly the newer records from every cursor and stream, open, ended and reopened", async () => {
      const stream = fc.constantFrom<LogStream>(...logStreams);
      const record = fc.tuple(stream, fc.stringMatching(/^[a-z]{0,20}\n?$/));
      const batches = fc.array(fc.array(record, { minLength: 1, maxLength: 6 }), { maxLength: 8 });
      const cursor = fc.record({
        after: fc.record({ stdout: fc.nat(12), stderr: fc.nat(12), system: fc.nat(12) }),
        stream: fc.option(stream, { nil: undefined }),
      });
      const property = fc.asyncProperty(
        batches,
        fc.array(cursor, { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        async (texts, cursors, ends) => {
          const writer = new Writer();
          for (const records of texts) await store.append(writer.attempt, writer.batch(...records));
          if (ends) await store.end(writer.attempt, { expiresAt: later });
          if (ends && texts.length % 3 === 0) await reopen();
          for (const { after: place, stream: only } of cursors) {
            const options = only === undefined ? { after: place } : { after: place, stream: only };
            const read = await readAll(store, writer.attempt, { ...options, follow: ends });
            expect(read).toEqual(after(writer.records, options));
          }
          // Whoever stops after any batch and resumes there sees the rest.
          for (const { bytes, last } of await batchesOf(store, writer.attempt)) {
            const rest = await readAll(store, writer.attempt, { after: last });
            expect(rest).toEqual(after(writer.records, { after: last }));
            expect(bytes.length).toBeGreaterThan(0);
          }
        },
      );
      await fc.assert(property, { numRuns: cursorRuns });
    });
  });
}
