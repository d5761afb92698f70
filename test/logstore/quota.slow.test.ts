import { expect, test } from "vitest";
import { openFileLogStore } from "#logstore/files/open.ts";
import { Writer } from "../conformance/log-model.ts";
import { newFolder } from "./folder.ts";

const quotaBytesPerAttempt = 200_000;
const line = `${"x".repeat(999)}\n`;

test("a noisy log costs bounded disk", async () => {
  const sizes = { segmentBytes: 50_000, journalBytes: 200_000 };
  const options = { directory: newFolder(), quotaBytesPerAttempt, ...sizes };
  await using store = await openFileLogStore(options);
  const writer = new Writer();
  for (let round = 0; round < 1_000; round++) {
    await store.append(writer.attempt, writer.lines(...Array<string>(10).fill(line)));
  }
  await expect.poll(() => store.stats().storedBytes).toBeLessThan(1_000_000);
});
