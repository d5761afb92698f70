import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { checkHistory } from "./history.ts";
import { drive, readRuns } from "./load.ts";
import { ServerProcess } from "./server-process.ts";

const jobs = 24;
const kills = 4;

test("killing the server under load loses nothing, runs nothing twice and leaves nothing behind", async () => {
  const server = await ServerProcess.start({ HODEI_PROCESS_MAX_WORKERS: "6" });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const ledger = join(server.directory, "ledger");
  const client = server.client();
  onTestFinished(() => client[Symbol.asyncDispose]());
  const { history, finals } = await drive({
    clients: [client],
    jobs,
    ledger,
    async disturb() {
      for (let round = 0; round < kills; round++) {
        const isDue = () => readRuns(ledger).length >= (round + 1) * 4;
        await vi.waitUntil(isDue, { timeout: 60_000 });
        await server.end("SIGKILL");
        await server.start();
      }
    },
  });
  await server.isEmpty();
  expect(checkHistory(history)).toEqual([]);
  expect(finals).toHaveLength(jobs);
  expect(finals.every((job) => job.attempts.length === 1)).toBe(true);
});
