import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { HodeiClient } from "#client/client.ts";
import { Proxy } from "../fake/proxy.ts";
import { type Fleet, startFleet } from "./fleet.ts";
import { checkHistory } from "./history.ts";
import { expectRanOnce, note, readLedger, untilNoted, untilState } from "./ledger.ts";
import { drive, readRuns } from "./load.ts";

const jobs = 4;
const lines = 100;

/** Jobs of both servers that count in the log and, outside of the system, in a file for each. */
async function startCounting(fleet: Fleet) {
  const running = await Promise.all(
    Array.from({ length: jobs }, async (_, at) => {
      const ledger = join(fleet.directory, `ledger-${at}`);
      const script = `
${note("start", ledger)}
for i in $(seq 1 ${lines}); do echo "line $i"; ${note("line", ledger)}; sleep 0.1; done`;
      const client = fleet.client(at % 2);
      const { id } = await client.submit({ script });
      await untilState(client, id, "running");
      return { id, ledger };
    }),
  );
  const workers = new Set(fleet.servers[0]?.agents().map(({ workerId }) => workerId));
  expect(workers.size).toBe(jobs);
  return { running, workers };
}

const outages = {
  "stands still": {
    begin: async ({ redis }: Fleet) => redis.signal("SIGSTOP"),
    end: async ({ redis }: Fleet) => redis.signal("SIGCONT"),
  },
  "is killed": {
    begin: ({ redis }: Fleet) => redis.kill(),
    end: ({ redis }: Fleet) => redis.start(),
  },
} as const;

test.for(Object.entries(outages))(
  "F23 while Redis %s calls are refused, jobs live on, and nobody is given up afterwards",
  async ([, outage]) => {
    const fleet = await startFleet(2);
    const { running, workers } = await startCounting(fleet);
    await outage.begin(fleet);
    const written = readLedger(running[0]?.ledger ?? "").length;
    for (const { address } of fleet.servers) {
      await using client = new HodeiClient({ address, retry: { maxRetries: 0, outageMs: 0 } });
      const calls = Array.from({ length: 20 }, () => client.submit({ command: ["true"] }));
      for (const outcome of await Promise.allSettled([
        ...calls,
        client.get(running[0]?.id ?? ""),
      ])) {
        expect(outcome).toMatchObject({ status: "rejected", reason: { code: "UNAVAILABLE" } });
      }
    }
    // By their own count they go on for twice as long as a worker may be silent.
    for (const { ledger } of running) await untilNoted(ledger, "line", written + 40);
    await outage.end(fleet);
    expect([0, 1]).toContain(await fleet.waitForLeader([0, 1]));
    const agents = new Set(fleet.servers[0]?.agents().map(({ workerId }) => workerId));
    expect(workers.isSubsetOf(agents)).toBe(true);
    const client = fleet.clientOfAll(1);
    const text = Array.from({ length: lines }, (_, at) => `line ${at + 1}\n`).join("");
    for (const one of running) await expectRanOnce(client, { ...one, text });
    const { id } = await client.submit({ command: ["true"] });
    expect(await client.wait(id)).toMatchObject({ state: "succeeded" });
  },
);

test("F24 answers of Redis that are lost after it did what it was asked for change nothing twice", async () => {
  const proxies: Proxy[] = [];
  const fleet = await startFleet(2, async ({ redis }) => {
    const proxy = await new Proxy(redis.path).listen();
    onTestFinished(() => proxy[Symbol.asyncDispose]());
    proxies.push(proxy);
    return { HODEI_REDIS_URL: proxy.url, HODEI_PROCESS_MAX_WORKERS: "6" };
  });
  const ledger = join(fleet.directory, "ledger");
  const count = 30;
  const { history, finals } = await drive({
    clients: [fleet.clientOfAll(0), fleet.clientOfAll(1)],
    jobs: count,
    ledger,
    async disturb() {
      for (let round = 1; round <= 10; round++) {
        await vi.waitUntil(() => readRuns(ledger).length >= round * 2, { timeout: 60_000 });
        for (const proxy of proxies) {
          const before = proxy.swallowed;
          proxy.isDeaf = true;
          await vi.waitUntil(() => proxy.swallowed >= before + 3, { timeout: 30_000 });
          proxy.heal();
        }
      }
    },
  });
  await fleet.servers[0]?.isEmpty();
  expect(checkHistory(history)).toEqual([]);
  expect(finals).toHaveLength(count);
  expect(finals.every((job) => job.attempts.length === 1)).toBe(true);
});
