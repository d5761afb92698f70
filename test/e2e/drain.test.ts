import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { HodeiClientError } from "#client/client.ts";
import { note, outputOf, readLedger, untilNoted } from "./ledger.ts";
import { clientForTest, startForTest } from "./server-process.ts";

const lines = 200;
const whole = Array.from({ length: lines }, (_, line) => `line ${line + 1}\n`).join("");

/** Writes on through the stop and the start of the server, and ends when the gate is there. */
const writer = (ledger: string, gate: string): string => `
${note("start", ledger)}
i=1
while [ $i -le ${lines} ]; do echo "line $i"; i=$((i+1)); sleep 0.02; done
while [ ! -e ${gate} ]; do sleep 0.05; done
${note("stop", ledger)}
exit 5`;

test("G9 a drain leaves the running job alone, and the same attempt ends after the restart", async () => {
  const server = await startForTest();
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const gate = join(server.directory, "gate");
  const { id } = await client.submit({ script: writer(ledger, gate) });
  await untilNoted(ledger, "start");
  const before = await client.get(id);
  expect(await server.end("SIGTERM")).toBe(0);
  expect(server.agents()).toHaveLength(1);
  writeFileSync(gate, "");
  await server.start();
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "failed", exitCode: 5 });
  expect(job.attempts.map((attempt) => attempt.id)).toEqual(
    before.attempts.map((attempt) => attempt.id),
  );
  expect(await outputOf(client, id)).toEqual({ text: whole, gaps: 0 });
  expect(readLedger(ledger).map(({ word }) => word)).toEqual(["start", "stop"]);
  await server.isEmpty();
});

test("G6 a result that came up while the server was away is the job's outcome", async () => {
  const server = await startForTest();
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const gate = join(server.directory, "gate");
  const { id } = await client.submit({ script: writer(ledger, gate) });
  await untilNoted(ledger, "start");
  await server.end("SIGKILL");
  writeFileSync(gate, "");
  await untilNoted(ledger, "stop");
  await server.start();
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "failed", exitCode: 5, attempts: [{ number: 1 }] });
  expect(await outputOf(client, id)).toEqual({ text: whole, gaps: 0 });
  await server.isEmpty();
});

test("G1 no submit that was acknowledged before or while the server stopped is lost", async () => {
  const server = await startForTest({ HODEI_PROCESS_ENABLED: "0" });
  const impatient = { maxRetries: 0, outageMs: 0 };
  const accepted: string[] = [];
  const refusals: HodeiClientError[] = [];
  const stop = new AbortController();
  const drivers = Array.from({ length: 4 }, async () => {
    await using client = server.client(undefined, impatient);
    while (!stop.signal.aborted && refusals.length === 0) {
      try {
        accepted.push((await client.submit({ command: ["true"] })).id);
      } catch (error) {
        if (!(error instanceof HodeiClientError)) throw error;
        refusals.push(error);
      }
    }
  });
  await vi.waitUntil(() => accepted.length > 50, { timeout: 30_000 });
  expect(await server.end("SIGTERM")).toBe(0);
  stop.abort();
  await Promise.all(drivers);
  expect(refusals.map(({ code }) => code)).toEqual(refusals.map(() => "UNAVAILABLE"));
  expect(refusals.length).toBeGreaterThan(0);
  await server.start();
  const client = clientForTest(server);
  const kept = new Set<string>();
  for await (const job of client.list()) kept.add(job.id);
  expect(accepted.filter((id) => !kept.has(id))).toEqual([]);
});

test("a drain waits for calls, takes no new jobs meanwhile, and a second signal ends it at once", async () => {
  const server = await startForTest({ HODEI_DRAIN_TIMEOUT_MS: "3600000" });
  const client = server.client(undefined, { maxRetries: 0, outageMs: 0 });
  onTestFinished(() => client.close());
  const ledger = join(server.directory, "ledger");
  const { id } = await client.submit({ script: `${note("start", ledger)}\nsleep 1000` });
  await untilNoted(ledger, "start");
  const following = outputOf(client, id, { follow: true }).catch((error: unknown) => error);
  server.signal("SIGTERM");
  await vi.waitUntil(() => server.readLog().includes('"stopping"'), { timeout: 10_000 });
  await expect(client.submit({ command: ["true"] })).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(await server.end("SIGTERM")).toBe(128 + 15);
  client.close();
  await following;
});
