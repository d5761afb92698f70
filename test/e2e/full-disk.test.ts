import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, type TestContext, vi } from "vitest";
import { HodeiClientError, type HodeiClient } from "#client/client.ts";
import { exists, note, outputOf, readPids, untilNoted } from "./ledger.ts";
import { clientForTest, type ServerProcess, startForTest } from "./server-process.ts";

/** What a server says that cannot keep what it was sent. */
const refusals = ["RESOURCE_EXHAUSTED", "UNAVAILABLE"];

/** A small file system of its own, which only root may mount. */
function mountSmall(context: TestContext, megabytes: number): string {
  const why = "not run: only root may mount a tmpfs";
  if (process.getuid?.() !== 0) context.skip(why);
  const folder = mkdtempSync(join(tmpdir(), "hodei-small-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", folder], {
      stdio: "ignore",
    });
  } catch {
    rmSync(folder, { recursive: true });
    context.skip(why);
  }
  onTestFinished(() => {
    execFileSync("umount", ["-l", folder]);
    rmSync(folder, { recursive: true });
  });
  return folder;
}

/** Takes all room that is left; the path of the file that does. */
function fill(folder: string): string {
  const ballast = join(folder, "ballast");
  for (const bytes of [1024 * 1024, 4096]) {
    try {
      for (;;) writeFileSync(ballast, Buffer.alloc(bytes, 1), { flag: "a" });
    } catch {
      // Full for pieces of this size.
    }
  }
  return ballast;
}

interface Answers {
  readonly accepted: string[];
  readonly refused: HodeiClientError[];
}

async function submitSome(client: HodeiClient, count: number): Promise<Answers> {
  const answers: Answers = { accepted: [], refused: [] };
  for (let at = 0; at < count; at++) {
    try {
      const stdin = "x".repeat(20_000);
      answers.accepted.push((await client.submit({ command: ["true"], stdin })).id);
    } catch (error) {
      if (!(error instanceof HodeiClientError)) throw error;
      answers.refused.push(error);
    }
  }
  return answers;
}

async function listAll(client: HodeiClient): Promise<Set<string>> {
  const ids = new Set<string>();
  for await (const job of client.list()) ids.add(job.id);
  return ids;
}

/** As an operator does: a server that says that it is not alive is started again. */
async function restartIfBroken(server: ServerProcess): Promise<void> {
  const live = await fetch(`http://${server.httpAddress}/health/live`).catch(() => undefined);
  if (live?.ok === true) return;
  await server.end("SIGKILL");
  await server.start();
}

test("G1 on a full disk submits are refused, none that was acknowledged is lost, and room heals it", async (context) => {
  const folder = mountSmall(context, 24);
  const server = await startForTest({
    HODEI_DATA_DIRECTORY: join(folder, "data"),
    HODEI_PROCESS_ENABLED: "0",
  });
  const client = server.client(undefined, { maxRetries: 0, outageMs: 0 });
  onTestFinished(() => client.close());
  const before = await submitSome(client, 5);
  expect(before.refused).toEqual([]);
  const ballast = fill(folder);
  const during = await submitSome(client, 40);
  expect(during.refused.length).toBeGreaterThan(0);
  for (const { code } of during.refused) expect(refusals).toContain(code);
  expect(server.readLog()).not.toContain("uncaught");

  rmSync(ballast);
  await restartIfBroken(server);
  const after = await vi.waitUntil(
    async () => {
      const answers = await submitSome(client, 1);
      return answers.accepted.length > 0 && answers;
    },
    { timeout: 20_000, interval: 100 },
  );
  const kept = await listAll(client);
  const accepted = [before, during, after].flatMap((answers) => answers.accepted);
  expect(accepted.filter((id) => !kept.has(id))).toEqual([]);
  const definite = during.refused.filter(({ isOutcomeUnknown }) => !isOutcomeUnknown);
  const mostUnknown = during.refused.length - definite.length;
  expect(kept.size - accepted.length).toBeLessThanOrEqual(mostUnknown);

  await server.end("SIGKILL");
  await server.start();
  expect(await listAll(client)).toEqual(kept);
});

test("G17 a job that writes while the disk is full goes on, and its log is whole once there is room", async (context) => {
  const folder = mountSmall(context, 48);
  const server = await startForTest({ HODEI_DATA_DIRECTORY: join(folder, "data") });
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const gate = join(server.directory, "gate");
  const script = `
echo $$ > ${server.directory}/pid
${note("start", ledger)}
while [ ! -e ${gate} ]; do sleep 0.05; done
seq 1 20000
while [ ! -e ${gate}2 ]; do sleep 0.05; done`;
  const { id } = await client.submit({ script });
  await untilNoted(ledger, "start");
  const ballast = fill(folder);
  writeFileSync(gate, "");
  await vi.waitFor(
    async () => {
      const ready = await fetch(`http://${server.httpAddress}/health/ready`);
      expect(ready.status).toBe(503);
    },
    { timeout: 20_000, interval: 50 },
  );
  expect(readPids(join(server.directory, "pid")).map(exists)).toEqual([true]);
  rmSync(ballast);
  writeFileSync(`${gate}2`, "");
  await restartIfBroken(server);
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "succeeded", attempts: [{ number: 1 }] });
  const whole = Array.from({ length: 20_000 }, (_, line) => `${line + 1}\n`).join("");
  expect(await outputOf(client, id, { follow: true })).toEqual({ text: whole, gaps: 0 });
  await server.isEmpty();
});
