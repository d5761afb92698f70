import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { exists, note, outputOf, readLedger, readPids, recordsOf, untilNoted } from "./ledger.ts";
import { clientForTest, type ServerProcess, startForTest } from "./server-process.ts";

const runner = (ledger: string, pids: string): string => `
echo $$ >> ${pids}
${note("start", ledger)}
echo "from attempt $HODEI_ATTEMPT"
[ "$HODEI_ATTEMPT" -gt 1 ] && { ${note("stop", ledger)}; exit 0; }
while :; do ${note("tick", ledger)}; sleep 0.1; done`;

/** The first attempt was silent from the start of the second one on. */
function expectNoOverlap(ledger: string): void {
  const rows = readLedger(ledger).toSorted((one, other) => one.at - other.at);
  const words = rows.filter(({ word, attempt }) => word !== "tick" || attempt > 1);
  expect(words.map(({ word, attempt }) => `${word} ${attempt}`)).toEqual([
    "start 1",
    "start 2",
    "stop 2",
  ]);
  const second = words[1]?.at ?? 0;
  expect(rows.filter(({ attempt, at }) => attempt === 1 && at > second)).toEqual([]);
}

function only<Item>(items: readonly Item[]): Item {
  const [first, ...rest] = items;
  if (first === undefined || rest.length > 0) throw new Error(`${items.length} instead of one`);
  return first;
}

/** A job that runs on an agent of its own. */
async function runningJob(server: ServerProcess, retryLost: boolean) {
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const pids = join(server.directory, "pids");
  const { id } = await client.submit({
    script: runner(ledger, pids),
    disconnectToleranceMs: 2_500,
    retry: { maxAttempts: 3, initialBackoffMs: 50, retryLost },
  });
  await untilNoted(ledger, "start");
  // What it wrote is at home, so that it must not be lost with the agent.
  await vi.waitFor(async () => expect((await outputOf(client, id)).text).not.toBe(""));
  return { client, ledger, pids, id, agent: only(server.agents()) };
}

test("G9 an agent that is killed takes its job along, and the job fails with the worker's death", async () => {
  const server = await startForTest();
  const { client, id, agent, pids } = await runningJob(server, false);
  process.kill(agent.pid, "SIGKILL");
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "failed", exitCode: undefined });
  expect(job.failure).toMatchObject({ cause: "worker_died", userCodeMayHaveRun: true });
  expect(["node", "provider"]).toContain(job.failure?.blame);
  expect(job.attempts).toHaveLength(1);
  expect(readPids(pids).filter(exists)).toEqual([]);
  const records = await recordsOf(client, id, { follow: true });
  expect(Buffer.concat(records.map(({ data }) => data)).toString()).toBe("from attempt 1\n");
  expect(records.flatMap(({ gap }) => gap?.reason ?? [])).toEqual(["lost"]);
  await server.isEmpty();
});

test("G9 a job whose policy says so runs again after its agent was killed, and only then", async () => {
  const server = await startForTest();
  const { client, id, agent, ledger } = await runningJob(server, true);
  process.kill(agent.pid, "SIGKILL");
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "succeeded", exitCode: 0 });
  expect(job.attempts.map(({ failure }) => failure?.cause)).toEqual(["worker_died", undefined]);
  expectNoOverlap(ledger);
  expect(await outputOf(client, id, { attempt: 2 })).toEqual({ text: "from attempt 2\n", gaps: 0 });
  await server.isEmpty();
});

test("G9 an agent that stood still beyond its tolerance is ended, and its job never runs twice at a time", async () => {
  const server = await startForTest();
  const { client, id, agent, ledger, pids } = await runningJob(server, true);
  const first = readPids(pids);
  process.kill(agent.pid, "SIGSTOP");
  const job = await client.wait(id);
  if (exists(agent.pid)) process.kill(agent.pid, "SIGCONT");
  expect(job).toMatchObject({ state: "succeeded", exitCode: 0 });
  expect(job.attempts).toHaveLength(2);
  expect(["worker_lost", "worker_died", "worker_stopped"]).toContain(
    job.attempts[0]?.failure?.cause,
  );
  await server.isEmpty();
  expect(first.filter(exists)).toEqual([]);
  expectNoOverlap(ledger);
  expect(await client.get(id)).toEqual(job);
});

test("G9 an agent that stood still for less than its tolerance goes on with the same attempt", async () => {
  const server = await startForTest();
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const gate = join(server.directory, "gate");
  const script = `${note("start", ledger)}\nwhile [ ! -e ${gate} ]; do sleep 0.05; done\n${note("stop", ledger)}`;
  const { id } = await client.submit({ script, disconnectToleranceMs: 60_000 });
  await untilNoted(ledger, "start");
  const { pid } = only(server.agents());
  process.kill(pid, "SIGSTOP");
  for await (const event of client.watch(id)) if (/silent/.test(event.message)) break;
  writeFileSync(gate, "");
  await untilNoted(ledger, "stop");
  process.kill(pid, "SIGCONT");
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "succeeded", attempts: [{ number: 1 }] });
  expect(readLedger(ledger).map(({ word }) => word)).toEqual(["start", "stop"]);
  await server.isEmpty();
});

test("G12 what a killed agent left behind is gone, also when the server was away meanwhile", async () => {
  const server = await startForTest();
  const { client, id, agent, pids } = await runningJob(server, false);
  await server.end("SIGKILL");
  process.kill(agent.pid, "SIGKILL");
  expect(readPids(pids).filter(exists)).toHaveLength(1);
  await server.start();
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "failed", failure: { cause: "worker_died" } });
  expect(readPids(pids).filter(exists)).toEqual([]);
  await server.isEmpty();
});
