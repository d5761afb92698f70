import { mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { sh, started } from "./agent-process.ts";

/** What the agent holds open; that varies by what it has ready for the next jobs. */
const ready = 200;

function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

it("many jobs at a time give all their output, and leave no descriptor open", async () => {
  await using run = await started();
  await run.server.connected();
  const runAll = async (from: number, count: number): Promise<void> => {
    const ids = Array.from({ length: count }, (_, index) => `a${from + index}`);
    for (const id of ids) run.server.assign(id, sh("seq 1 2000; echo end >&2"));
    await Promise.all(ids.map((id) => run.server.result(id)));
    for (const id of ids) {
      await vi.waitFor(() => expect(run.server.output(id).toString()).toMatch(/\n2000\n$/));
      expect(run.server.output(id).length).toBe(8893);
      expect(run.server.output(id, "stderr").toString()).toBe("end\n");
    }
  };
  await runAll(0, 10);
  const pid = run.agent.child.pid ?? 0;
  const before = openFiles(pid);
  await runAll(10, 50);
  for (let index = 100; index < 350; index++) {
    run.server.assign(`a${index}`, { command: ["true"] });
    if (index % 10 === 0) await run.server.result(`a${index}`);
  }
  await run.server.result("a349");
  await vi.waitFor(() => expect(openFiles(pid)).toBeLessThan(before + ready), { timeout: 5_000 });
});

it("a program that cannot be started leaves no descriptor open", async () => {
  await using run = await started();
  await run.server.connected();
  run.server.assign("a0", { command: ["/no/such"] });
  await run.server.result("a0");
  const pid = run.agent.child.pid ?? 0;
  const before = openFiles(pid);
  for (let index = 1; index <= 250; index++) {
    run.server.assign(`a${index}`, { command: ["/no/such"] });
    await run.server.result(`a${index}`);
  }
  await vi.waitFor(() => expect(openFiles(pid)).toBeLessThan(before + ready), { timeout: 5_000 });
});

it("without mkfifo jobs run on socket pairs, and that is said once", async () => {
  const directory = mkdtempSync(join(tmpdir(), "hodei-path-"));
  symlinkSync(readlinkSyncOr("/bin/sh"), join(directory, "sh"));
  await using run = await started({}, { PATH: directory });
  await run.server.connected();
  for (const id of ["a1", "a2"]) {
    run.server.assign(id, sh("echo out; echo err >&2"));
    expect(await run.server.result(id)).toMatchObject({ exitCode: 0 });
    await vi.waitFor(() => expect(run.server.output(id).toString()).toBe("out\n"));
    expect(run.server.output(id, "stderr").toString()).toBe("err\n");
  }
  expect(run.agent.log.match(/no named pipes/g)).toHaveLength(1);
  rmSync(directory, { recursive: true });
});

it("named pipes are gone as soon as they are made", async () => {
  const pipesIn = (place: string): string[] =>
    readdirSync(place, { recursive: true, encoding: "utf8" }).filter((name) => /pipes-/.test(name));
  // Agents that were killed may have left some, and others may be at it; what stays of this one's is what counts.
  const before = new Set(pipesIn("/dev/shm"));
  await using run = await started();
  await run.server.connected();
  run.server.assign("a1", sh("sleep 600"));
  await run.server.seen("started");
  await vi.waitFor(() => {
    expect(pipesIn(run.agent.workRoot)).toEqual([]);
    expect(pipesIn("/dev/shm").filter((name) => !before.has(name))).toEqual([]);
  });
});

function readlinkSyncOr(path: string): string {
  try {
    return join("/bin", readlinkSync(path));
  } catch {
    return path;
  }
}
