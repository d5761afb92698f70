import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { listProcesses } from "#processes.ts";
import { note, readPids, untilNoted } from "./ledger.ts";
import { clientForTest, startForTest } from "./server-process.ts";

test("G9 a job that a connected worker with several slots does not start in time is its own until its agent has dropped it", async () => {
  const server = await startForTest({
    HODEI_WORKER_SLOTS: "2",
    HODEI_WORKER_MAX_JOBS: "0",
    HODEI_ASSIGN_DEADLINE_MS: "2000",
  });
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const pids = join(server.directory, "pids");
  const first = await client.submit({ script: `${note("first", ledger)}\nsleep 1000` });
  await untilNoted(ledger, "first");
  const { workerId } = (await client.get(first.id)).attempts[0] ?? {};
  const agent = server.agents().find((one) => one.workerId === workerId);
  if (agent === undefined) throw new Error("the agent is not there");
  // It keeps its connection and does nothing.
  process.kill(agent.pid, "SIGSTOP");
  const second = await client.submit({ script: `echo $$ >> ${pids}\nsleep 1000` });
  try {
    await vi.waitUntil(() => server.readLog().includes("not started in time"), {
      timeout: 30_000,
      interval: 50,
    });
    expect(await client.get(second.id)).toMatchObject({
      state: "starting",
      attempts: [{ number: 1, workerId }],
    });
  } finally {
    process.kill(agent.pid, "SIGCONT");
  }
  await vi.waitFor(
    async () => {
      const job = await client.get(second.id);
      expect(job).toMatchObject({ state: "running" });
      // The first one is over in the store, and in fact.
      expect(job.attempts.length).toBeGreaterThan(1);
      const alive = new Set(listProcesses().map(({ pid }) => pid));
      expect(readPids(pids).filter((pid) => alive.has(pid))).toHaveLength(1);
    },
    { timeout: 60_000, interval: 50 },
  );
  expect((await client.get(first.id)).state).toBe("running");
});
