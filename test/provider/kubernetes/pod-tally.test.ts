import { expect, test } from "vitest";
import { tallyPods } from "#provider/kubernetes/pod-tally.ts";

function pod(phase: string, requests: Record<string, string> = {}, deletionTimestamp?: Date) {
  return {
    metadata: deletionTimestamp === undefined ? {} : { deletionTimestamp },
    spec: { containers: [{ name: "worker", resources: { requests } }, { name: "sidecar" }] },
    status: { phase },
  };
}

test("pods are counted by phase, and what they ask for until they are over", () => {
  const asked = { cpu: "1500m", memory: "1Gi", "nvidia.com/gpu": "2", "ephemeral-storage": "1Gi" };
  const pods = [
    pod("Pending", asked),
    pod("Running", { cpu: "1" }),
    pod("Running", { "gpu.intel.com/i915": "1" }, new Date(0)),
    pod("Succeeded", asked, new Date(0)),
    pod("Failed", asked),
  ];
  expect(tallyPods(pods)).toEqual({
    byPhase: { Pending: 1, Running: 1, Terminating: 1, Succeeded: 1, Failed: 1, Unknown: 0 },
    cpuCores: 2.5,
    memoryBytes: 2 ** 30,
    gpus: 3,
  });
});
