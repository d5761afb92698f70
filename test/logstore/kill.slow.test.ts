import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { isAttemptId } from "#job/id.ts";
import { openFileLogStore } from "#logstore/files/open.ts";
import { readAll } from "../conformance/log-model.ts";
import { newFolder, newWarnings, quotaBytesPerAttempt } from "./folder.ts";

const program = join(import.meta.dirname, "append-child.ts");

test.for([1, 500, 3_000, 9_000])(
  "everything that was acknowledged is there after kill -9 at the %i-th acknowledgement",
  async (count) => {
    const directory = newFolder();
    const child = spawn(process.execPath, [program, directory], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const acknowledged = new Map<string, number>();
    const ended = new Set<string>();
    let lines = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      const [attempt = "", what = ""] = line.split(" ");
      if (what === "end") ended.add(attempt);
      else acknowledged.set(attempt, Number(what));
      if (++lines === count) child.kill("SIGKILL");
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    expect(lines).toBeGreaterThanOrEqual(count);
    const log = newWarnings();
    await using store = await openFileLogStore({ directory, quotaBytesPerAttempt, log });
    for (const [attempt, last] of acknowledged) {
      if (!isAttemptId(attempt)) throw new Error("the child wrote something else");
      const seen = await readAll(store, attempt);
      expect(seen.length).toBeGreaterThanOrEqual(last * 2);
      const expected = seen.map((_, index) => {
        const sequence = Math.floor(index / 2) + 1;
        const stream = index % 2 === 0 ? "stdout" : "stderr";
        return { stream, sequence, text: `${sequence} of ${attempt}\n` };
      });
      expect(seen).toEqual(expected);
      if (ended.has(attempt)) expect((await store.findLog(attempt))?.hasEnded).toBe(true);
    }
    expect(log.messages.filter((message) => !message.includes("cut an unfinished end"))).toEqual(
      [],
    );
  },
);
