import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { openFileLogStore } from "#logstore/files/open.ts";
import { Quota, tenantNumber } from "#logstore/files/quota.ts";
import type { LogStore } from "#logstore/logstore.ts";
import { readAll, Writer, type Seen } from "../conformance/log-model.ts";
import { later, newFolder } from "./folder.ts";

const lineBytes = 1_000;
const keptBytes = 256 * 1024;
/** What goes goes by whole parts of a quarter of it, which a batch and what is spilled at a time make larger. */
const mostBytes = keptBytes / 2 + 80_000;
const unbounded = { quotaBytesPerAttempt: 2 ** 30 };
const bounded = { ...unbounded, quotaBytesPerTenant: 300_000 };

/** What cannot be compressed to less than three quarters. */
async function writeNoise(store: LogStore, writer: Writer, batches: number, tenant: string) {
  for (let round = 0; round < batches; round++) {
    const lines = Array.from({ length: 10 }, () => randomBytes(750).toString("base64").slice(1));
    const batch = writer.lines(...lines.map((line) => `${line}\n`));
    await store.append(writer.attempt, { ...batch, tenant });
  }
}

const gapIn = (seen: readonly Seen[]) => seen.findIndex(({ text }) => text.startsWith("gap:"));

/** What is read must be the head, one gap that counts exactly, and the tail up to the last record. */
function expectHeadAndTail(seen: readonly Seen[], writer: Writer): void {
  const at = gapIn(seen);
  const missing = writer.records.length - (seen.length - 1);
  expect(seen[at]?.text).toBe(`gap:quota:${missing}:${missing * lineBytes}`);
  expect(seen.slice(0, at)).toEqual(writer.records.slice(0, at));
  expect(seen.slice(at + 1)).toEqual(writer.records.slice(at + missing));
  for (const count of [at, seen.length - 1 - at]) {
    expect(count * lineBytes).toBeGreaterThan(keptBytes / 2 - 25_000);
    expect(count * lineBytes).toBeLessThan(mostBytes);
  }
}

describe.for([
  { name: "in the journal", segmentBytes: 1 << 20, journalBytes: 1 << 26 },
  { name: "moved to parts", segmentBytes: 60_000, journalBytes: 120_000 },
])("the logs of a tenant $name", (sizes) => {
  test("keep their ends only beyond its quota, those of others everything, also after restarts", async () => {
    const directory = newFolder();
    const [first, second] = [new Writer(), new Writer()];
    const others = [new Writer(), new Writer()] as const;
    {
      await using store = await openFileLogStore({ directory, ...unbounded, ...sizes });
      await writeNoise(store, first, 60, "noisy");
    }
    for (const batches of [60, 3, 60]) {
      await using store = await openFileLogStore({ directory, ...bounded, ...sizes });
      if (second.number > 0) expectHeadAndTail(await readAll(store, second.attempt), second);
      await writeNoise(store, second, batches, "noisy");
      expectHeadAndTail(await readAll(store, second.attempt), second);
      await writeNoise(store, others[0], 10, "quiet");
      await writeNoise(store, others[1], 20, "");
      for (const writer of [first, ...others]) {
        expect(await readAll(store, writer.attempt)).toEqual(writer.records);
      }
    }
    await using store = await openFileLogStore({ directory, ...bounded, ...sizes });
    await writeNoise(store, first, 60, "noisy");
    // What it had before stays.
    const seen = await readAll(store, first.attempt);
    expect(gapIn(seen)).toBeGreaterThanOrEqual(600);
    expect((seen.length - gapIn(seen)) * lineBytes).toBeLessThan(mostBytes);
    for (const { attempt } of [first, second, ...others]) {
      await store.end(attempt, { expiresAt: later });
    }
    expect(await readAll(store, first.attempt)).toEqual(seen);
    expectHeadAndTail(await readAll(store, second.attempt), second);
  });
});

test("what has ended counts until it is deleted, also in a store that is opened again", async () => {
  const directory = newFolder();
  const begunAt = Date.now();
  {
    // So small that whatever has ended is archived at once.
    const sizes = { segmentBytes: 60_000, journalBytes: 60_000 };
    await using store = await openFileLogStore({ directory, ...unbounded, ...sizes });
    const ended = new Writer();
    await writeNoise(store, ended, 60, "noisy");
    await store.end(ended.attempt, { expiresAt: begunAt });
    await writeNoise(store, new Writer(), 20, "quiet");
  }
  await using store = await openFileLogStore({ directory, ...bounded });
  const during = new Writer();
  await writeNoise(store, during, 60, "noisy");
  expectHeadAndTail(await readAll(store, during.attempt), during);
  await store.end(during.attempt, { expiresAt: begunAt });
  await store.expire(begunAt);
  expect(await store.expire(begunAt)).toBe(2);
  const isKept = async () => {
    const writer = new Writer();
    await writeNoise(store, writer, 20, "noisy");
    const isWhole = gapIn(await readAll(store, writer.attempt)) === -1;
    await store.end(writer.attempt, { expiresAt: begunAt });
    await store.expire(begunAt);
    return isWhole;
  };
  await expect.poll(isKept, { timeout: 8_000, interval: 200 }).toBe(true);
});

test("a tenant is a number that is never that of nobody", () => {
  expect(tenantNumber("")).toBe(0);
  expect(tenantNumber("a")).toBeGreaterThan(0);
  expect(tenantNumber("a")).not.toBe(tenantNumber("b"));
  const quota = new Quota({ bytesPerAttempt: 100_000, bytesPerTenant: 1 });
  expect(quota.halfBytesOf(0)).toBe(50_000);
});
