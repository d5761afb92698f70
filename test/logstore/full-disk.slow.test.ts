import { execFileSync } from "node:child_process";
import { onTestFinished, expect, test } from "vitest";
import { openFileLogStore } from "#logstore/files/open.ts";
import { readAll, Writer } from "../conformance/log-model.ts";
import { newFolder, quotaBytesPerAttempt } from "./folder.ts";

// A file system of its own needs root; without it the injected full disk in disk.test.ts has to do.
const canMount = process.getuid?.() === 0;
if (!canMount) console.log("not run: the full tmpfs, which needs root");

test.runIf(canMount)(
  "a file system that fills up loses nothing that was acknowledged",
  async () => {
    const directory = newFolder();
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", directory]);
    onTestFinished(() => void execFileSync("umount", [directory]));
    const writer = new Writer();
    let acknowledged = 0;
    {
      await using store = await openFileLogStore({ directory, quotaBytesPerAttempt });
      let refusal: unknown;
      while (refusal === undefined) {
        await store.append(writer.attempt, writer.lines(`${"x".repeat(50_000)}\n`)).then(
          () => acknowledged++,
          (error: unknown) => (refusal = error),
        );
      }
      expect(refusal).toMatchObject({ code: "resource_exhausted" });
      expect(store.stats().isWritable).toBe(false);
      expect(await readAll(store, writer.attempt)).toEqual(writer.records.slice(0, acknowledged));
    }
    await using store = await openFileLogStore({ directory, quotaBytesPerAttempt });
    expect(acknowledged).toBeGreaterThan(10);
    expect(await readAll(store, writer.attempt)).toEqual(writer.records.slice(0, acknowledged));
  },
);
