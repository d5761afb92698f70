import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openSqliteStore } from "#store/sqlite/open.ts";
import { anyJob } from "../conformance/store/make.ts";
import { submit } from "../conformance/store/job-facts.ts";

// A file system of its own needs root.
const canMount = process.getuid?.() === 0;
if (!canMount) console.log("not run: a store on a full tmpfs, which needs root");

test.runIf(canMount)(
  "a store on a full disk says so when it is opened, and then has all",
  async () => {
    const directory = mkdtempSync(join(tmpdir(), "hodei-full-"));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", directory]);
    onTestFinished(() => {
      execFileSync("umount", [directory]);
      rmSync(directory, { recursive: true });
    });
    const path = join(directory, "hodei.db");
    const first = await openSqliteStore({ path });
    const id = await submit(first);
    await first[Symbol.asyncDispose]();
    const fill = join(directory, "fill");
    expect(() => writeFileSync(fill, Buffer.alloc(16 * 1024 * 1024))).toThrow("ENOSPC");
    await expect(openSqliteStore({ path })).rejects.toMatchObject({
      code: "resource_exhausted",
      message: "the store's disk is full",
      hint: "free some space",
    });
    rmSync(fill);
    await using store = await openSqliteStore({ path });
    expect((await store.listJobs(anyJob)).rows.map((job) => job.id)).toEqual([id]);
  },
);
