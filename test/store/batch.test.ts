import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { jobIdOf } from "#job/id.ts";
import { Batches, BrokenStore, type Call } from "#store/sqlite/batch.ts";
import { Core } from "#store/sqlite/core.ts";
import { openDatabase } from "#store/sqlite/schema.ts";
import { anyJob, dawn, day, newJob } from "../conformance/store/make.ts";

let folder: string;
let db: DatabaseSync;
/** Errors that the next commits throw. */
let commitErrors: Error[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hodei-batch-"));
  commitErrors = [];
  db = openDatabase(join(folder, "store.db"));
  const prepare = db.prepare.bind(db);
  db.prepare = (sql) => {
    const statement = prepare(sql);
    if (sql !== "COMMIT") return statement;
    const run = statement.run.bind(statement);
    statement.run = () => {
      const error = commitErrors.shift();
      if (error !== undefined) throw error;
      return run();
    };
    return statement;
  };
});

afterEach(() => {
  db.close();
  rmSync(folder, { recursive: true, force: true });
});

const submit = (bytes = 3): Call => ({
  method: "submitJobs",
  args: [[newJob({ spec: new Uint8Array(bytes) })], dawn],
});
const list: Call = { method: "listJobs", args: [anyJob] };
const demand: Call = { method: "readDemand", args: [dawn] };

function sqliteError(errcode: number): Error {
  return Object.assign(new Error("from SQLite"), { code: "ERR_SQLITE_ERROR", errcode });
}

describe("a transaction that fails", () => {
  test("with an unknown outcome breaks the store", () => {
    const batches = new Batches(new Core(db));
    commitErrors.push(sqliteError(10 + 4 * 256)); // SQLITE_IOERR_FSYNC
    expect(() => batches.run([submit()])).toThrow(BrokenStore);
  });

  test("for want of space changes nothing", () => {
    const batches = new Batches(new Core(db));
    expect(batches.run([submit()])).toMatchObject([{ kind: "value" }]);
    const before = batches.run([list, demand]);
    const pages = Number(db.prepare("PRAGMA page_count").get()?.["page_count"]);
    db.exec(`PRAGMA max_page_count = ${pages + 4}`);
    const full = { kind: "error", code: "resource_exhausted" };
    expect(batches.run([submit(), submit(200_000)])).toMatchObject([full, full]);
    expect(batches.run([list, demand])).toEqual(before);
    db.exec(`PRAGMA max_page_count = ${pages + 400}`);
    expect(batches.run([submit(200_000)])).toMatchObject([{ kind: "value" }]);
    expect(batches.run([demand])).toMatchObject([{ value: [{ queued: 2 }] }]);
  });

  test("by a fault of one call fails that call only", () => {
    const batches = new Batches(new Core(db));
    const faulty = { method: "submitJobs", args: [[{ ...newJob(), name: {} }], dawn] } as const;
    const answers = batches.run([submit(), faulty, submit()]);
    expect(answers).toMatchObject([
      { kind: "value" },
      { kind: "error", code: undefined },
      { kind: "value" },
    ]);
    expect(batches.run([demand])).toMatchObject([{ value: [{ queued: 2 }] }]);
  });

  test("by a refusal leaves the other calls alone", () => {
    const batches = new Batches(new Core(db));
    const wish = { reason: "", actor: "bob", deadline: dawn, expiresAt: dawn + day };
    const cancel: Call = { method: "cancelJob", args: [jobIdOf(1), wish, dawn] };
    const answers = batches.run([submit(), cancel, submit()]);
    expect(answers[1]).toMatchObject({ kind: "error", code: "not_found" });
    expect(batches.run([demand])).toMatchObject([{ value: [{ queued: 2 }] }]);
  });
});
