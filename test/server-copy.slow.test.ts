import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openFileLogStore } from "#logstore/files/open.ts";
import { copyStores } from "#server-copy.ts";
import { openSqliteStore } from "#store/sqlite/open.ts";
import { readAll, Writer } from "./conformance/log-model.ts";
import { later, newFolder, quotaBytesPerAttempt } from "./logstore/folder.ts";
import { fillStore } from "./store/filled.ts";

const logsOf = (directory: string) =>
  openFileLogStore({ directory: join(directory, "logs"), quotaBytesPerAttempt });

async function newData() {
  const directory = newFolder();
  const store = await openSqliteStore({ path: join(directory, "hodei.db") });
  const { running } = await fillStore(store);
  await store[Symbol.asyncDispose]();
  const logs = await logsOf(directory);
  const writer = new Writer();
  const { attemptId } = running;
  await logs.append(attemptId, writer.lines("one\n"));
  await logs.end(attemptId, { expiresAt: later });
  await logs[Symbol.asyncDispose]();
  return { directory, attemptId, records: writer.records };
}

test("copies a data directory with its logs", async () => {
  const { directory, attemptId, records } = await newData();
  const to = join(newFolder(), "new");
  expect(await copyStores({ from: directory, to })).toMatchObject({ jobs: 5, logs: 1 });
  await using logs = await logsOf(to);
  expect(await readAll(logs, attemptId)).toEqual(records);
});

test("copies through a file of lines", async () => {
  const { directory } = await newData();
  const file = join(newFolder(), "dump.ndjson");
  const counts = await copyStores({ from: directory, to: file });
  expect(counts).toMatchObject({ jobs: 5, keys: 1 });
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  expect(lines[0]).toBe('{"kind":"head","format":1}');
  const to = join(newFolder(), "new");
  expect(await copyStores({ from: file, to })).toEqual(counts);
  const again = join(newFolder(), "again.ndjson");
  await copyStores({ from: to, to: again });
  expect(readFileSync(again, "utf8").trimEnd().split("\n")).toEqual(lines);
  await expect(copyStores({ from: directory, to: file })).rejects.toThrow("not empty");
  await expect(copyStores({ from: `${file}.ndjson`, to: again })).rejects.toThrow("no file");
  writeFileSync(file, lines.slice(0, -1).join("\n"));
  await expect(copyStores({ from: file, to: newFolder() })).rejects.toThrow("not whole");
});

test("refuses places that hold no store, are full, or name no instance", async () => {
  const { directory } = await newData();
  const nowhere = join(newFolder(), "nowhere");
  await expect(copyStores({ from: nowhere, to: newFolder() })).rejects.toThrow("no store");
  expect(existsSync(nowhere)).toBe(false);
  const other = await newData();
  await expect(copyStores({ from: directory, to: other.directory })).rejects.toThrow("not empty");
  const redis = "redis://user:secret@127.0.0.1:1";
  await expect(copyStores({ from: directory, to: redis })).rejects.toThrow("with its instance");
  await expect(copyStores({ from: directory, to: `${redis}#a` })).rejects.toThrow(
    expect.objectContaining({
      code: "unavailable",
      message: expect.not.stringContaining("secret"),
    }),
  );
  await expect(
    copyStores({ from: directory, to: "redis+cluster://127.0.0.1:1#a" }),
  ).rejects.toThrow(expect.objectContaining({ code: "unavailable" }));
  // One process at a time.
  await expect(copyStores({ from: directory, to: directory })).rejects.toThrow("in use");
});
