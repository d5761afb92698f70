import { join } from "node:path";
import { expect, test, vi } from "vitest";
import type { HodeiClient } from "#client/client.ts";
import { note, outputOf, readLedger, untilNoted } from "./ledger.ts";
import { clientForTest, startForTest } from "./server-process.ts";

async function readyWorkers(client: HodeiClient): Promise<string[]> {
  const ids: string[] = [];
  for await (const worker of client.workers.list({ states: ["ready"] })) ids.push(worker.id);
  return ids;
}

test("a worker with four slots runs four jobs at a time and many one after another, then leaves", async () => {
  const server = await startForTest({
    HODEI_PROCESS_MAX_WORKERS: "1",
    HODEI_WORKER_SLOTS: "4",
    HODEI_WORKER_MAX_JOBS: "0",
    HODEI_WORKER_IDLE_TIMEOUT_MS: "1000",
  });
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  // Four that meet each other: none of them ends before all have begun.
  const script = `${note("start", ledger)}\nwhile [ $(grep -c start ${ledger}) -lt 4 ]; do sleep 0.05; done\necho met`;
  const first = await Promise.all(Array.from({ length: 4 }, () => client.submit({ script })));
  await Promise.all(first.map(({ id }) => client.wait(id)));
  const rest = await Promise.all(
    Array.from({ length: 20 }, (_, at) => client.submit({ command: ["echo", `job ${at}`] })),
  );
  const workers = new Set<string>();
  for (const [at, { id }] of [...first, ...rest].entries()) {
    const job = await client.wait(id);
    expect(job).toMatchObject({ state: "succeeded", attempts: [{ number: 1 }] });
    workers.add(job.attempts[0]?.workerId ?? "");
    expect((await outputOf(client, id)).text).toBe(at < 4 ? "met\n" : `job ${at - 4}\n`);
  }
  expect(workers.size).toBe(1);
  await server.isEmpty();
});

test("a reused worker that dies takes down what it runs, and what it had finished stays finished", async () => {
  const server = await startForTest({
    HODEI_PROCESS_MAX_WORKERS: "1",
    HODEI_WORKER_SLOTS: "3",
    HODEI_WORKER_MAX_JOBS: "0",
  });
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const done = await client.submit({ command: ["echo", "done"] });
  await client.wait(done.id);
  const script = `${note("start", ledger)}\n[ "$HODEI_ATTEMPT" -gt 1 ] || sleep 1000`;
  const retry = { maxAttempts: 2, initialBackoffMs: 10, retryLost: true };
  const held = await Promise.all([
    client.submit({ script, retry }),
    client.submit({ script, retry }),
    client.submit({ script }),
  ]);
  await untilNoted(ledger, "start", 3);
  for (const { pid } of server.agents()) process.kill(pid, "SIGKILL");
  const ends = await Promise.all(held.map(({ id }) => client.wait(id)));
  expect(ends.map(({ state }) => state)).toEqual(["succeeded", "succeeded", "failed"]);
  expect(ends.map(({ attempts }) => attempts.length)).toEqual([2, 2, 1]);
  expect(readLedger(ledger)).toHaveLength(5);
  expect((await client.get(done.id)).state).toBe("succeeded");
});

test("a warm pool keeps idle workers ready, a job takes one at once, and the pool is filled again", async () => {
  const server = await startForTest({ HODEI_WARM_POOL: '[{"count":2}]' });
  const client = clientForTest(server);
  await vi.waitFor(async () => expect(await readyWorkers(client)).toHaveLength(2), {
    timeout: 30_000,
  });
  const warm = await readyWorkers(client);
  const { id } = await client.submit({ command: ["echo", "warm"] });
  const job = await client.wait(id);
  expect(job.state).toBe("succeeded");
  expect(warm).toContain(job.attempts[0]?.workerId);
  await vi.waitFor(
    async () => {
      const ready = await readyWorkers(client);
      expect(ready).toHaveLength(2);
      expect(ready).not.toContain(job.attempts[0]?.workerId);
      expect(server.agents()).toHaveLength(2);
    },
    { timeout: 30_000 },
  );
});

test("warm workers outlive the server, and the next one keeps them", async () => {
  const server = await startForTest({
    HODEI_WARM_POOL: '[{"count":2}]',
    HODEI_WORKER_MAX_JOBS: "0",
    HODEI_WORKER_IDLE_TIMEOUT_MS: "60000",
  });
  const client = clientForTest(server);
  await vi.waitFor(async () => expect(await readyWorkers(client)).toHaveLength(2), {
    timeout: 30_000,
  });
  const before = (await readyWorkers(client)).toSorted();
  await server.end("SIGKILL");
  await server.start();
  await vi.waitFor(async () => {
    for (const id of before) expect((await client.workers.get(id)).isConnected).toBe(true);
  }, 30_000);
  expect((await readyWorkers(client)).toSorted()).toEqual(before);
  const { id } = await client.submit({ command: ["true"] });
  const job = await client.wait(id);
  expect(before).toContain(job.attempts[0]?.workerId);
  // While the job ran, the pool may have started another one in its worker's place.
  expect(await readyWorkers(client)).toEqual(expect.arrayContaining(before));
});
