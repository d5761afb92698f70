import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { workerIdOf } from "#job/id.ts";
import { openProcessProvider } from "#provider/process/process-provider.ts";
import { StartError } from "#provider/provider.ts";
import { noPreference } from "#worker/class.ts";

describe("process provider", () => {
  it("a program that does not exist is certainly not started", async () => {
    const root = mkdtempSync(join(tmpdir(), "hodei-provider-"));
    const agentCommand = ["/no/such/agent"];
    const options = { name: "local", directory: root, maxWorkers: 1, instanceId: "i", env: {} };
    await using provider = await openProcessProvider({ ...options, agentCommand });
    const starting = provider.startWorker(specOf(workerIdOf(1)), new AbortController().signal);
    await expect(starting).rejects.toThrow(StartError);
    expect(await provider.listWorkers()).toEqual([]);
    rmSync(root, { recursive: true });
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
