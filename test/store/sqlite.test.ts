import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, describe, expect, test } from "vitest";
import type { JobId } from "#job/id.ts";
import { openSqliteStore } from "#store/sqlite/open.ts";
import { storeConformance } from "../conformance/store.ts";
import { openInProcess } from "./in-process.ts";
import { newProvider } from "../conformance/store/provider-facts.ts";
import { jobIn, submit } from "../conformance/store/job-facts.ts";
import { anyJob, claimOf, dawn, newJob, readyWorker } from "../conformance/store/make.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function newPath(): string {
  const folder = mkdtempSync(join(tmpdir(), "hodei-store-"));
  folders.push(folder);
  return join(folder, "store.db");
}

storeConformance("sqlite", () => Promise.resolve(openInProcess(newPath())));

describe("the embedded store's file", () => {
  test("keeps everything over a restart", async () => {
    const path = newPath();
    const store = await openSqliteStore({ path });
    const running = await jobIn(store, "running");
    const queued = await submit(store);
    const before = [await store.findJob(running), await store.findJob(queued)];
    await store[Symbol.asyncDispose]();
    await using again = await openSqliteStore({ path });
    expect([await again.findJob(running), await again.findJob(queued)]).toEqual(before);
    const next = await submit(again);
    expect(next > queued).toBe(true);
    const worker = await readyWorker(again, 9);
    const given = await again.claimNext(worker, claimOf(5), dawn);
    expect(given.map((one) => one.jobId)).toEqual([queued, next]);
  });

  test("is open in one place at a time", async () => {
    const path = newPath();
    const first = await openSqliteStore({ path });
    await expect(openSqliteStore({ path })).rejects.toMatchObject({
      code: "failed_precondition",
      message: `the store ${path} is in use by process ${process.pid}`,
    });
    await first[Symbol.asyncDispose]();
    const second = await openSqliteStore({ path });
    await second[Symbol.asyncDispose]();
  });

  test("gives large jobs a few at a time, and all of them", async () => {
    await using store = openInProcess(newPath());
    const large = newJob({ spec: new Uint8Array(600_000), deadline: dawn });
    for (let at = 0; at < 20; at++) await store.submitJobs([large], dawn);
    const found: JobId[] = [];
    let pageToken: string | undefined;
    do {
      const page = await store.listJobs({ ...anyJob, pageToken });
      expect(page.rows.length).toBeLessThan(20);
      found.push(...page.rows.map((job) => job.id));
      pageToken = page.nextPageToken;
    } while (pageToken !== undefined);
    expect(new Set(found).size).toBe(20);
    const due = await store.listDue(dawn, 500);
    expect(due.length).toBeGreaterThan(0);
    expect(due.length).toBeLessThan(20);
  });

  test("of the first schema is brought to the present one, with all that is in it", async () => {
    const path = newPath();
    const store = openInProcess(path);
    const queued = await submit(store);
    await store[Symbol.asyncDispose]();
    const db = new DatabaseSync(path);
    db.exec(`
      DROP TABLE providers; DROP TABLE provider_events; DROP TABLE provider_states;
      PRAGMA user_version = 1
    `);
    db.close();
    await using again = openInProcess(path);
    expect(await again.findJob(queued)).toBeDefined();
    await again.addProvider(newProvider("one"), dawn);
    expect(await again.findProvider("one")).toMatchObject({ version: 1 });
    await again.saveProviderStates([{ provider: "one", at: dawn, data: "{}" }]);
    expect(await again.listProviderStates()).toHaveLength(1);
  });

  test("is refused when a newer program wrote it", async () => {
    const path = newPath();
    const db = new DatabaseSync(path);
    db.exec("PRAGMA user_version = 99");
    db.close();
    await expect(openSqliteStore({ path })).rejects.toMatchObject({ code: "failed_precondition" });
  });

  test("is refused when it is damaged", async () => {
    const path = newPath();
    writeFileSync(path, "this is no database, and it is long enough to be seen as such".repeat(99));
    await expect(openSqliteStore({ path })).rejects.toMatchObject({ code: "data_loss" });
  });

  test("answers what was called before it was closed, and nothing after", async () => {
    const store = await openSqliteStore({ path: newPath() });
    const last = store.submitJobs([newJob()], dawn);
    const closed = store[Symbol.asyncDispose]();
    expect(await last).toMatchObject([{ kind: "accepted" }]);
    await closed;
    await expect(store.listLiveWorkers()).rejects.toMatchObject({ code: "unavailable" });
  });
});
