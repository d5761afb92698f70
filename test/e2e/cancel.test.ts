import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { exists, note, outputOf, readPids, untilNoted, untilState } from "./ledger.ts";
import { clientForTest, startForTest } from "./server-process.ts";

test("the agent and the job's processes are seen while a job runs, and nothing is seen after it", async () => {
  const server = await startForTest();
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const gate = join(server.directory, "gate");
  const script = `${note("start", ledger)}\n(env -i PATH=$PATH sleep 1000 &)\nwhile [ ! -e ${gate} ]; do sleep 0.05; done`;
  const { id } = await client.submit({ script });
  await untilNoted(ledger, "start");
  const seen = await vi.waitFor(() => {
    const all = server.workerProcesses();
    expect(all.some(({ command }) => command.includes("sleep 1000"))).toBe(true);
    return all;
  });
  expect(server.agents()).toHaveLength(1);
  expect(seen.map(({ command }) => command).join("\n")).toMatch(/agent\/main[^]*\.script/);
  expect(seen.some(({ pid }) => pid === server.pid)).toBe(false);
  await client.submit({ command: ["touch", gate] });
  expect((await client.wait(id)).state).toBe("succeeded");
  await server.isEmpty();
});

test("G11 a queued job that is cancelled never runs", async () => {
  const server = await startForTest({ HODEI_PROCESS_ENABLED: "0" });
  const client = clientForTest(server);
  const { id } = await client.submit({ command: ["true"] });
  await client.cancel(id, { reason: "not wanted" });
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "cancelled", attempts: [], failure: { cause: "cancelled" } });
  expect(job.failure?.userCodeMayHaveRun).toBe(false);
  await expect(client.cancel(id)).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
});

test("G11 a starting job that is cancelled ends, and its worker with it", async () => {
  const server = await startForTest();
  const client = clientForTest(server);
  const jobs = await Promise.all(
    Array.from({ length: 4 }, () => client.submit({ command: ["sleep", "1000"] })),
  );
  const ends = jobs.map(async ({ id }) => {
    await untilState(client, id, "starting");
    await client.cancel(id);
    return client.wait(id);
  });
  for (const job of await Promise.all(ends)) expect(job.state).toBe("cancelled");
  await server.isEmpty();
});

test("G11 a running job gets time to end politely, and its last words are kept", async () => {
  const server = await startForTest();
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const script = `trap 'echo bye; exit 0' TERM\n${note("start", ledger)}\nwhile :; do sleep 0.05; done`;
  const { id } = await client.submit({ script });
  await untilNoted(ledger, "start");
  expect((await client.cancel(id)).state).toBe("cancelling");
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "cancelled", failure: { cause: "cancelled", blame: "user" } });
  expect(await outputOf(client, id)).toEqual({ text: "bye\n", gaps: 0 });
  await server.isEmpty();
});

test("G11 a cancelled job leaves no process, also none that ignores TERM or left its group", async () => {
  const server = await startForTest();
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const pids = join(server.directory, "pids");
  const stubborn = `trap '' TERM HUP; echo $$ >> ${pids}; while :; do sleep 0.1; done`;
  const script = `
trap '' TERM
echo $$ >> ${pids}
setsid sh -c "${stubborn.replaceAll("$", "\\$")}" &
(setsid setsid sh -c "${stubborn.replaceAll("$", "\\$")}" &)
(cd / && env -i PATH="$PATH" setsid sh -c "${stubborn.replaceAll("$", "\\$")}") &
while [ $(wc -l < ${pids}) -lt 4 ]; do sleep 0.05; done
${note("start", ledger)}
while :; do sleep 0.1; done`;
  const { id } = await client.submit({ script, cancelGraceMs: 300 });
  await untilNoted(ledger, "start");
  const all = readPids(pids);
  expect(all.filter(exists)).toHaveLength(4);
  await client.cancel(id);
  const job = await client.wait(id);
  expect(job.state).toBe("cancelled");
  await vi.waitFor(() => expect(all.filter(exists)).toEqual([]), { timeout: 10_000 });
  await server.isEmpty();
});

test("G11 a cancel that was acknowledged survives the server's death", async () => {
  const server = await startForTest();
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const script = `trap '' TERM\n${note("start", ledger)}\nwhile :; do sleep 0.05; done`;
  const { id } = await client.submit({ script, cancelGraceMs: 500 });
  await untilNoted(ledger, "start");
  await client.cancel(id);
  await server.end("SIGKILL");
  await server.start();
  expect((await client.wait(id)).state).toBe("cancelled");
  await server.isEmpty();
});
