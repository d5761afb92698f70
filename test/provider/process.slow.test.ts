import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { workerIdOf } from "#job/id.ts";
import { findMarked, listProcesses, readProcess, signalTo } from "#processes.ts";
import { openProcessProvider } from "#provider/process/process-provider.ts";
import { createLogger } from "#telemetry.ts";
import { providerConformance, type ProviderGround } from "../conformance/provider.ts";

const agent = join(import.meta.dirname, "test-agent.ts");

interface Report {
  readonly pid: number;
  readonly jobPid: number | undefined;
  readonly otpLength: number;
  readonly env: Record<string, string>;
}

async function prepare(): Promise<ProviderGround> {
  const root = mkdtempSync(join(tmpdir(), "hodei-provider-"));
  const file = join(root, "report");
  const env = {
    PATH: process.env["PATH"] ?? "",
    PLAIN: "1",
    AWKWARD: 'a=b\n"quoted" $HOME ünï\\',
    EMPTY: "",
  };
  const read = (id: string): Report | undefined => {
    try {
      return JSON.parse(readFileSync(`${file}.${id}`, "utf8")) as Report;
    } catch {
      return undefined;
    }
  };
  return {
    env,
    open: ({ instanceId = "instance", way = "wait" }) =>
      openProcessProvider({
        name: "local",
        directory: join(root, "workers"),
        agentCommand: [process.execPath, agent],
        maxWorkers: 10,
        instanceId,
        env: { ...env, TEST_REPORT: file, TEST_WAY: way },
      }),
    report: async (id) => read(id),
    async remains(id) {
      const marked = findMarked([`HODEI_WORKER_ID=${id}`]).get(`HODEI_WORKER_ID=${id}`) ?? [];
      return marked.filter((pid) => readProcess(pid)?.isZombie === false).map(String);
    },
    async kill(id) {
      signalTo(read(id)?.pid ?? 0, "SIGKILL");
    },
    async [Symbol.asyncDispose]() {
      const left = findMarked([`TEST_REPORT=${file}`]).get(`TEST_REPORT=${file}`) ?? [];
      for (const pid of left) signalTo(pid, "SIGKILL");
      rmSync(root, { recursive: true, force: true });
    },
  };
}

providerConformance("process", prepare);

describe("process provider", () => {
  it("starts another helper when it dies, and the workers do not notice", async () => {
    await using ground = await prepare();
    await using provider = await ground.open({});
    const workerId = workerIdOf(Date.now());
    const { uid } = await provider.startWorker(specOf(workerId), new AbortController().signal);
    const helpers = listProcesses().filter(({ pid, parent }) => {
      const line = parent === process.pid ? readFileSync(`/proc/${pid}/cmdline`, "utf8") : "";
      return line.includes("helper.ts");
    });
    expect(helpers).toHaveLength(1);
    for (const { pid } of helpers) signalTo(pid, "SIGKILL");
    await vi.waitFor(
      async () => {
        expect(await provider.health()).toMatchObject({ state: "unhealthy" });
      },
      { timeout: 5_000, interval: 5 },
    );
    await vi.waitFor(
      async () => {
        expect(await provider.listWorkers()).toEqual([{ id: workerId, uid, isRunning: true }]);
      },
      { timeout: 9_000 },
    );
    await provider.stopWorker(workerId, 100);
    expect(await provider.listWorkers()).toEqual([]);
  });

  it("says that its helper died", async () => {
    const directory = mkdtempSync(join(tmpdir(), "hodei-provider-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const lines: string[] = [];
    const log = createLogger("warn", { write: (line) => void lines.push(line) });
    const options = { name: "p", directory, agentCommand: ["false"], maxWorkers: 1 };
    await using _provider = await openProcessProvider({
      ...options,
      instanceId: "i",
      env: {},
      log,
    });
    const isOurs = ({ pid, parent }: { pid: number; parent: number }): boolean =>
      parent === process.pid && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(directory);
    for (const { pid } of listProcesses().filter(isOurs)) signalTo(pid, "SIGKILL");
    await expect.poll(() => lines.join("")).toContain("helper died");
  });
});

function specOf(workerId: ReturnType<typeof workerIdOf>) {
  const resources = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" };
  return {
    workerId,
    workerClass: { image: "", resources, preferredProvider: "", isProviderStrict: false },
    tenant: undefined,
    otp: "otp",
    serverAddress: "127.0.0.1:1",
    serverCa: undefined,
    slots: 1,
    labels: {},
    annotations: {},
    maxLifetimeMs: undefined,
    disconnectToleranceMs: 1_000,
  };
}
