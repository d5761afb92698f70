import { expect, onTestFinished, test } from "vitest";
import type { AttemptId } from "#job/id.ts";
import { copyLogs } from "#logstore/copy.ts";
import { openFileLogStore } from "#logstore/files/open.ts";
import { newAttempt, readAll, Writer } from "../conformance/log-model.ts";
import { later, newFolder, quotaBytesPerAttempt } from "./folder.ts";

async function openNew(quota = quotaBytesPerAttempt) {
  const store = await openFileLogStore({ directory: newFolder(), quotaBytesPerAttempt: quota });
  onTestFinished(() => store[Symbol.asyncDispose]());
  return store;
}

async function* those(...attempts: AttemptId[]): AsyncGenerator<AttemptId> {
  yield* attempts;
}

test("a copied log reads the same, with its expiry and what is missing", async () => {
  const from = await openNew();
  const [ended, lost, empty] = [new Writer(), new Writer(), newAttempt()];
  await from.append(ended.attempt, ended.lines("one\n", "two\n"));
  await from.append(ended.attempt, ended.batch(["stderr", "x\n"]));
  await from.end(ended.attempt, { expiresAt: later });
  await from.append(lost.attempt, lost.lines("one\n"));
  await from.end(lost.attempt, { expiresAt: later, missing: "lost" });
  await from.end(empty, { expiresAt: later });
  const to = await openNew();
  const all = [ended.attempt, lost.attempt, empty];
  expect(await copyLogs(from, to, those(...all, newAttempt()))).toEqual({ logs: 3, leftLogs: 0 });
  expect(await copyLogs(from, to, those(...all))).toEqual({ logs: 0, leftLogs: 0 });
  for (const attempt of all) {
    expect(await readAll(to, attempt)).toEqual(await readAll(from, attempt));
    const { hasEnded, expiresAt } = (await to.findLog(attempt)) ?? {};
    expect([hasEnded, expiresAt]).toEqual([true, later]);
  }
});

test("an open log goes on where it was, also behind what the quota removed", async () => {
  const from = await openNew(20_000);
  const writer = new Writer();
  for (let line = 0; line < 100; line++) {
    await from.append(writer.attempt, writer.lines(`${line} ${"x".repeat(1_000)}\n`));
  }
  const to = await openNew(20_000);
  await copyLogs(from, to, those(writer.attempt));
  const before = await readAll(from, writer.attempt);
  expect(before.some(({ text }) => text.startsWith("gap:quota"))).toBe(true);
  expect(await readAll(to, writer.attempt)).toEqual(before);
  expect((await to.findLog(writer.attempt))?.batch).toBe(100);
  const next = writer.lines("next\n");
  await to.append(writer.attempt, next);
  await to.end(writer.attempt, { expiresAt: later });
  expect((await readAll(to, writer.attempt, { follow: true })).at(-1)).toMatchObject({
    sequence: 101,
    text: "next\n",
  });
});
