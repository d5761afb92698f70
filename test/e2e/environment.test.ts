import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { listProcesses, treeOf } from "#processes.ts";
import { note, readLedger, untilNoted } from "./ledger.ts";
import { startForTest } from "./server-process.ts";

const adminToken = "Admin-Secret-0123456789-in-a-variable";
const key = Buffer.alloc(32, 7).toString("base64");

test("G13 what the server reads from its environment is in that of no other process: helper, agent, spawner or job", async () => {
  const server = await startForTest({
    HODEI_ADMIN_TOKEN: adminToken,
    HODEI_ENCRYPTION_KEY: key,
    HODEI_WORKER_SLOTS: "2",
    HODEI_WORKER_MAX_JOBS: "0",
  });
  await using admin = server.client(adminToken);
  const ledger = join(server.directory, "ledger");
  // The second one comes when the agent has its spawner.
  for (const name of ["one", "two"]) {
    await admin.submit({ script: `${note(name, ledger)}\nsleep 1000` });
    await untilNoted(ledger, name);
  }
  expect(readLedger(ledger).length).toBeGreaterThanOrEqual(2);
  const below = treeOf([server.pid], listProcesses()).filter(({ pid }) => pid !== server.pid);
  const pids = new Set([...below, ...server.workerProcesses()].map(({ pid }) => pid));
  const seen = Array.from(pids, (pid) => {
    try {
      const read = (name: string) => readFileSync(`/proc/${pid}/${name}`, "latin1");
      return { command: read("cmdline").replaceAll("\0", " "), environ: read("environ") };
    } catch {
      return { command: "", environ: "" }; // It has ended.
    }
  });
  const commands = seen.map(({ command }) => command).join("\n");
  for (const part of ["process/helper.ts", "agent/main.ts", "--spawner", "sleep 1000"]) {
    expect(commands).toContain(part);
  }
  for (const { command, environ } of seen) {
    expect({ command, found: [adminToken, key].filter((one) => environ.includes(one)) }).toEqual({
      command,
      found: [],
    });
  }
  // The server's own cannot be cleaned, which is why the README says to use files.
  expect(readFileSync(`/proc/${server.pid}/environ`, "latin1")).toContain(adminToken);
});
