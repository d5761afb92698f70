import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { acts } from "./acts.ts";
import { Pair, SqliteSubject } from "./pair.ts";

test(
  "the embedded store says what the model says, whatever the steps",
  { timeout: 60_000 },
  async () => {
    const runs = Number(process.env["HODEI_MODEL_RUNS"] ?? 60);
    const checked = fc.assert(
      fc.asyncProperty(fc.array(acts, { minLength: 20, maxLength: 120 }), async (steps) => {
        const folder = mkdtempSync(join(tmpdir(), "hodei-model-"));
        const subject = new SqliteSubject(join(folder, "store.db"));
        const pair = new Pair(subject);
        try {
          subject.db.exec("PRAGMA synchronous = OFF");
          for (const act of steps) await act(pair);
          await pair.compareAll();
        } finally {
          subject.db.close();
          rmSync(folder, { recursive: true, force: true });
        }
      }),
      { numRuns: runs },
    );
    await expect(checked).resolves.toBeUndefined();
  },
);
