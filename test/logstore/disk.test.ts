import { describe, expect, test } from "vitest";
import { realDisk, type Disk } from "#logstore/files/disk.ts";
import { openFileLogStore } from "#logstore/files/open.ts";
import { readAll, Writer } from "../conformance/log-model.ts";
import { later, newFolder, quotaBytesPerAttempt } from "./folder.ts";

function diskError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

describe("a full disk", () => {
  test("refuses the batch, keeps nothing of it, and takes it once there is room", async () => {
    const directory = newFolder();
    let isFull = false;
    const disk: Disk = {
      async write(file, buffers, position) {
        if (!isFull) return realDisk.write(file, buffers, position);
        await file.write(buffers[0] ?? Buffer.alloc(0), 0, 50, position);
        throw diskError("ENOSPC");
      },
    };
    const writer = new Writer();
    const third = [writer.lines("one\n"), writer.lines("two\n"), writer.lines("three\n")] as const;
    {
      await using store = await openFileLogStore({ directory, quotaBytesPerAttempt, disk });
      await store.append(writer.attempt, third[0]);
      isFull = true;
      const both = [store.append(writer.attempt, third[1]), store.append(writer.attempt, third[2])];
      for (const result of await Promise.allSettled(both)) {
        expect(result).toMatchObject({ reason: { code: "resource_exhausted" } });
      }
      expect(store.stats().isWritable).toBe(false);
      await expect(store.end(writer.attempt, { expiresAt: later })).rejects.toMatchObject({
        code: "resource_exhausted",
      });
      await expect(store.append(new Writer().attempt, third[0])).rejects.toThrow("full");
      expect(store.stats().openLogs).toBe(1);
      expect(await readAll(store, writer.attempt)).toEqual(writer.records.slice(0, 1));
      isFull = false;
      await store.append(writer.attempt, third[1]);
      expect(store.stats().isWritable).toBe(true);
      await store.append(writer.attempt, third[2]);
    }
    await using store = await openFileLogStore({ directory, quotaBytesPerAttempt });
    expect(await readAll(store, writer.attempt)).toEqual(writer.records);
  });
});

describe("a write that fails", () => {
  test("refuses this and every later batch until the store is opened again", async () => {
    const directory = newFolder();
    let isBroken = false;
    const disk: Disk = {
      async write(file, buffers, position) {
        if (isBroken) throw diskError("EIO");
        await realDisk.write(file, buffers, position);
      },
    };
    const writer = new Writer();
    const batches = [writer.lines("one\n"), writer.lines("two\n")] as const;
    {
      await using store = await openFileLogStore({ directory, quotaBytesPerAttempt, disk });
      await store.append(writer.attempt, batches[0]);
      isBroken = true;
      await expect(store.append(writer.attempt, batches[1])).rejects.toMatchObject({
        code: "unavailable",
      });
      isBroken = false;
      await expect(store.append(writer.attempt, batches[1])).rejects.toMatchObject({
        code: "unavailable",
      });
      expect(store.stats().isWritable).toBe(false);
    }
    await using store = await openFileLogStore({ directory, quotaBytesPerAttempt });
    await store.append(writer.attempt, batches[1]);
    expect(await readAll(store, writer.attempt)).toEqual(writer.records);
  });
});

test("acknowledges nothing before it is durable, and one write serves all who wait", async () => {
  const syncs: PromiseWithResolvers<void>[] = [];
  const disk: Disk = {
    write() {
      const sync = Promise.withResolvers<void>();
      syncs.push(sync);
      return sync.promise;
    },
  };
  const options = { directory: newFolder(), quotaBytesPerAttempt, disk };
  await using store = await openFileLogStore(options);
  const writers = Array.from({ length: 50 }, () => new Writer());
  let acknowledged = 0;
  const all = writers.map(async (writer) => {
    await store.append(writer.attempt, writer.lines("x\n"));
    acknowledged++;
  });
  await expect.poll(() => syncs.length).toBe(1);
  expect(acknowledged).toBe(0);
  expect(await store.findLog(writers[0]?.attempt ?? new Writer().attempt)).toBeUndefined();
  syncs[0]?.resolve();
  await Promise.all(all);
  expect(syncs).toHaveLength(1);
});
