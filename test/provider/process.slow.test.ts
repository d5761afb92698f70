import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { workerIdOf } from "#job/id.ts";
import { findMarked, listProcesses, readProcess, signalTo } from "#processes.ts";
import { findControlGroups } from "#provider/process/control-groups.ts";
import { openProcessProvider } from "#provider/process/process-provider.ts";
import { createLogger } from "#telemetry.ts";
import { providerConformance, type ProviderGround } from "../conformance/provider.ts";
import { noPreference } from "#worker/class.ts";

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

  it("ends what escaped from everything else, where the machine has groups for it", async () => {
    await using ground = await prepare();
    await using provider = await ground.open({ way: "escape" });
    const workerId = workerIdOf(Date.now());
    await provider.startWorker(specOf(workerId), new AbortController().signal);
    const escaped = (): number[] =>
      listProcesses().flatMap(({ pid, parent, isZombie }) => {
        const line = isZombie ? "" : readFileSync(`/proc/${pid}/cmdline`, "latin1");
        return parent === 1 && line.includes("543.21") ? [pid] : [];
      });
    await vi.waitFor(() => expect(escaped()).toHaveLength(1), { timeout: 9_000 });
    await provider.stopWorker(workerId, 100);
    const left = escaped();
    for (const pid of left) signalTo(pid, "SIGKILL");
    expect(left).toHaveLength(findControlGroups("auto").has("kill") ? 0 : 1);
  });

  it("bounds a worker as its class says, where the machine has groups for it", async () => {
    await using ground = await prepare();
    await using provider = await ground.open({});
    const { memoryLimit, cpuLimit } = provider.capabilities;
    const spec = specOf(workerIdOf(Date.now()));
    const resources = { ...spec.workerClass.resources, cpuMillis: 500, memoryBytes: 2 ** 26 };
    const workerClass = { ...spec.workerClass, resources };
    const { uid } = await provider.startWorker(
      { ...spec, workerClass },
      new AbortController().signal,
    );
    const groups = readFileSync(`/proc/${uid.split(":")[1]}/cgroup`, "utf8").split("\n");
    const isBounded = (name: string): boolean =>
      groups.some((line) => line.includes(name) && line.endsWith(`hodei-${spec.workerId}`));
    expect(isBounded(":memory:") || isBounded("0::")).toBe(memoryLimit || isBounded("0::"));
    expect(isBounded(":cpu") || isBounded("0::")).toBe(cpuLimit || isBounded("0::"));
    await provider.stopWorker(spec.workerId, 100);
  });

  it("refuses what this machine does not have, in numbers", async () => {
    await using ground = await prepare();
    await using provider = await ground.open({});
    const { workerClass } = specOf(workerIdOf(1));
    const ask = (more: Partial<typeof workerClass.resources>): string | undefined =>
      provider.refusalOf({ ...workerClass, resources: { ...workerClass.resources, ...more } });
    expect(ask({ cpuMillis: 1_000, memoryBytes: 2 ** 20, diskBytes: 2 ** 20 })).toBeUndefined();
    expect(ask({ cpuMillis: 10_000_500 })).toMatch(/^it asks for 10000.5 CPUs, .* has \d+$/);
    expect(ask({ memoryBytes: 2 ** 50 })).toMatch(
      /^it asks for 1073741824 MiB of memory, .* \d+ MiB$/,
    );
    expect(ask({ diskBytes: 2 ** 60 })).toMatch(/of disk, and the one for workers has \d+ MiB$/);
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
    workerClass: { image: "", resources, provider: noPreference, longestHours: 1 },
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
