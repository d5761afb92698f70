import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type HodeiClient, HodeiClientError, type Job } from "#client/client.ts";
import { checkHistory, type FinalLog, type HistoryEvent, type Run } from "./history.ts";
import { clientForTest, launcher, startForTest, type ServerProcess } from "./server-process.ts";

const lines = 20;

const script = (ledger: string): string => `
echo "start $HODEI_JOB_ID $HODEI_JOB_ID/$HODEI_ATTEMPT $(date +%s%N)" >> ${ledger}
i=1
while [ $i -le ${lines} ]; do echo "$HODEI_JOB_ID line $i"; i=$((i+1)); sleep 0.02; done
echo "stop $HODEI_JOB_ID $HODEI_JOB_ID/$HODEI_ATTEMPT $(date +%s%N)" >> ${ledger}
`;

function hodei(server: ServerProcess, ...args: readonly string[]) {
  const env = { ...server.env, HODEI_SERVER: server.address };
  return spawnSync(process.execPath, [launcher, ...args], { env, encoding: "utf8" });
}

test("a server restored from a backup under load has every job and log that was acknowledged before it", async () => {
  const server = await startForTest({ HODEI_PROCESS_MAX_WORKERS: "4" });
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const accepted = new Map<string, string>();
  const submitting = Array.from({ length: 4 }, async (_, driver) => {
    for (let index = 0; index < 5; index++) {
      const key = `key-${driver}-${index}`;
      const spec = { script: script(ledger), labels: { key } };
      const { id } = await client.submit(spec, { idempotencyKey: key });
      accepted.set(id, key);
      if (index % 2 === 1) await client.wait(id);
    }
  });
  await expect.poll(() => accepted.size, { timeout: 60_000 }).toBeGreaterThan(8);
  const before = new Map(accepted);
  const over = new Set<string>();
  for (const id of before.keys()) if ((await client.get(id)).endedAt !== undefined) over.add(id);
  const target = join(server.directory, "backup");
  const written = hodei(server, "backup", target);
  expect(written.stderr).toBe("");
  expect(written.stdout).toContain("files");
  await Promise.all(submitting);
  await Promise.all([...accepted.keys()].map((id) => client.wait(id)));
  await server.isEmpty();
  await server.end("SIGKILL");

  const data = server.env["HODEI_DATA_DIRECTORY"] ?? "";
  expect(hodei(server, "restore", target)).toMatchObject({
    status: 64,
    stderr: expect.stringContaining("is not empty"),
  });
  renameSync(data, join(server.directory, "lost"));
  expect(hodei(server, "restore", target).status).toBe(0);
  await server.start();

  const history: HistoryEvent[] = [];
  for (const [jobId, key] of accepted) {
    // What came later may be there or not.
    const answer = before.has(jobId) ? "ok" : "unknown";
    history.push({ kind: "submit", tenant: "default", key, answer, jobId });
  }
  for (const id of over) expect((await client.get(id)).state).toBe("succeeded");
  const finals: Job[] = [];
  for await (const { id } of client.list()) finals.push(await client.wait(id));
  expect(finals.length).toBeGreaterThanOrEqual(before.size);
  for (const job of finals) history.push(...(await restOf(client, job)));
  history.push(...runsOf(ledger));
  expect(checkHistory(history)).toEqual([]);
  // The same key still gives the same job.
  const [[id, key] = ["", ""]] = before;
  const again = await client.submit(
    { script: script(ledger), labels: { key } },
    { idempotencyKey: key },
  );
  expect(again.id).toBe(id);
  await server.isEmpty();
});

test("a backup goes nowhere but into a new folder outside of the data, and needs an admin", async () => {
  const server = await startForTest({ HODEI_ADMIN_TOKEN: "an-admin-of-this-test" });
  const client = clientForTest(server);
  const refused = async (directory: string, from: HodeiClient = client): Promise<string> =>
    from.admin.backup(directory).then(
      () => "written",
      (error: unknown) => (error instanceof HodeiClientError ? error.code : String(error)),
    );
  expect(await refused("relative")).toBe("INVALID_ARGUMENT");
  expect(await refused(join(server.env["HODEI_DATA_DIRECTORY"] ?? "", "here"))).toBe(
    "INVALID_ARGUMENT",
  );
  const full = join(server.directory, "full");
  mkdirSync(full);
  writeFileSync(join(full, "file"), "");
  expect(await refused(full)).toBe("FAILED_PRECONDITION");
  const { secret } = await client.tokens.create({ subject: "op", tenant: "t", role: "operator" });
  const operator = clientForTest(server, secret);
  const target = join(server.directory, "backup");
  expect(await refused(target, operator)).toBe("PERMISSION_DENIED");
  expect(existsSync(target)).toBe(false);
  expect(await refused(target)).toBe("written");
});

test("a backup that is not whole is not restored, and a server does not start on half of one", async () => {
  const server = await startForTest();
  const target = join(server.directory, "backup");
  await clientForTest(server).admin.backup(target);
  await server.end("SIGTERM");
  const data = server.env["HODEI_DATA_DIRECTORY"] ?? "";
  renameSync(data, join(server.directory, "lost"));
  const whole = readFileSync(join(target, "hodei.db"));
  writeFileSync(join(target, "hodei.db"), whole.subarray(0, 100));
  expect(hodei(server, "restore", target).stderr).toContain("is not whole: hodei.db");
  rmSync(join(target, "backup.json"));
  expect(hodei(server, "restore", target).stderr).toContain("holds no backup");
  mkdirSync(data);
  writeFileSync(join(data, "restore-unfinished"), "");
  expect(hodei(server, "server").stderr).toContain("was not restored to the end");
});

async function restOf(client: HodeiClient, job: Job): Promise<HistoryEvent[]> {
  const attempt = `${job.id}/${job.attempts.length}`;
  const read: FinalLog["read"][number][] = [];
  for await (const { stream, sequence, data, gap } of client.logs(job.id, {
    attempt: job.attempts.length,
  })) {
    if (stream !== "stdout") continue;
    if (gap !== undefined) read.push({ sequence, missing: gap.records });
    else read.push({ sequence, text: Buffer.from(data).toString() });
  }
  const written = Array.from({ length: lines }, (_, line) => `${job.id} line ${line + 1}\n`);
  return [
    { kind: "log", jobId: job.id, attempt, written, read },
    {
      kind: "final",
      begin: 0,
      end: 1,
      asTenant: "default",
      jobId: job.id,
      tenant: job.tenant,
      version: job.version,
      state: job.state,
      exitCode: job.exitCode,
      key: job.spec?.labels["key"] ?? "",
      attempt,
    },
  ];
}

/** What the jobs wrote down themselves, before and after. */
function runsOf(ledger: string): Run[] {
  const runs: Run[] = [];
  for (const line of readFileSync(ledger, "utf8").trimEnd().split("\n")) {
    const [word = "", jobId = "", attempt = "", at = ""] = line.split(" ");
    const open = runs.findLastIndex((run) => run.attempt === attempt && run.stop === undefined);
    const run = runs[open];
    if (word === "start" || run === undefined) {
      const start = Number(at);
      runs.push({ kind: "run", jobId, attempt, start, stop: undefined, exitCode: undefined });
    } else runs[open] = { ...run, stop: Number(at), exitCode: 0 };
  }
  return runs;
}
