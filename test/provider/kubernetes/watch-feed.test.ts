import { expect, test } from "vitest";
import { workerIdOf } from "#job/id.ts";
import { WatchFeed } from "#provider/kubernetes/watch-feed.ts";
import type { ProviderEvent } from "#provider/provider.ts";

const gone = (n: number): ProviderEvent => ({
  kind: "gone",
  workerId: workerIdOf(n),
  failure: undefined,
});

test("begins with what it is given, and misses nothing from the call on", async () => {
  const feed = new WatchFeed();
  const followed = feed.follow([gone(1)], new AbortController().signal);
  feed.add(gone(2));
  const told: ProviderEvent[] = [];
  for await (const event of followed) {
    told.push(event);
    if (told.length === 2) feed.close();
  }
  expect(told).toEqual([gone(1), gone(2)]);
});

test("ends when its signal aborts", async () => {
  const stop = new AbortController();
  const followed = new WatchFeed().follow([], stop.signal);
  const ended = gather(followed);
  stop.abort();
  expect(await ended).toEqual([]);
});

test("whoever falls far behind is told so, and keeps nothing", async () => {
  const feed = new WatchFeed();
  const followed = feed.follow([], new AbortController().signal);
  for (let n = 1; n <= 20_000; n++) feed.add(gone(n));
  await expect(gather(followed)).rejects.toThrow("behind");
});

async function gather(events: AsyncIterable<ProviderEvent>): Promise<readonly ProviderEvent[]> {
  const told: ProviderEvent[] = [];
  for await (const event of events) told.push(event);
  return told;
}
