import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openRedisStore } from "#store/redis/open.ts";
import type { Method } from "#store/sqlite/batch.ts";
import type { Store } from "#store/store.ts";
import { acts } from "./acts.ts";
import { callStore, Pair, pairOptions, type Subject } from "./pair.ts";
import { RedisServer } from "./redis-server.ts";

const server = new RedisServer("--appendfsync", "no");
let instances = 0;
beforeAll(() => server.start());
afterAll(() => server[Symbol.asyncDispose]());

/** Two processes that share an instance: each step goes through either. */
class RedisSubject implements Subject, AsyncDisposable {
  readonly #instance = `model-${++instances}`;
  #stores: readonly Store[] = [];
  #calls = 0;

  async reopen(): Promise<boolean> {
    await this[Symbol.asyncDispose]();
    const options = { url: server.url, instance: this.#instance, ...pairOptions };
    this.#stores = [await openRedisStore(options), await openRedisStore(options)];
    return false;
  }

  async call(method: Method, args: readonly unknown[]) {
    const store = this.#stores[this.#calls++ % this.#stores.length];
    return store && callStore(store, method, args);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const store of this.#stores) await store[Symbol.asyncDispose]();
  }
}

test("redis says what the model says, whatever the steps and whoever takes them", async () => {
  const runs = Number(process.env["HODEI_MODEL_RUNS"] ?? 60);
  const checked = fc.assert(
    fc.asyncProperty(fc.array(acts, { minLength: 20, maxLength: 120 }), async (steps) => {
      await using subject = new RedisSubject();
      await subject.reopen();
      const pair = new Pair(subject);
      for (const act of steps) await act(pair);
      await pair.compareAll();
    }),
    { numRuns: runs },
  );
  await expect(checked).resolves.toBeUndefined();
});
