import { expect, test } from "vitest";

import { World } from "./world.ts";

const resources = (cpu: string) => ({ container: { resources: { requests: { cpu } } } });

test("binds a pod that waited once another has ended", async () => {
  await using world = new World({ nodes: [{ name: "small", cpu: "1" }] });
  world.createPod("first", "read line < /dev/zero; sleep 60", resources("800m"));
  await world.untilPhase("first", "Running");
  world.createPod("second", "echo", resources("500m"));
  expect(world.pod("second").status?.conditions).toEqual([
    expect.objectContaining({
      status: "False",
      reason: "Unschedulable",
      message:
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
    }),
  ]);
  world.deletePod("first", 0);
  await world.untilPhase("second", "Succeeded");
  expect(world.reasons("second").slice(0, 2)).toEqual(["FailedScheduling", "Scheduled"]);
});

test("counts the reasons of all nodes", async () => {
  await using world = new World({
    nodes: [
      { name: "a", cpu: "1" },
      { name: "b", labels: { gpu: "h100" }, taints: [{ key: "gpu", effect: "NoSchedule" }] },
      { name: "c", labels: { gpu: "h100" }, cpu: "1", extended: { "nvidia.com/gpu": "1" } },
    ],
  });
  world.createPod("picky", "true", {
    spec: { nodeSelector: { gpu: "h100" } },
    container: { resources: { limits: { "nvidia.com/gpu": "2" }, requests: { cpu: "2" } } },
  });
  expect(world.pod("picky").status?.conditions?.[0]?.message).toBe(
    "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient nvidia.com/gpu, 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
  );
});

test("honours tolerations, required affinity and the lighter node", async () => {
  await using world = new World({
    nodes: [
      { name: "plain" },
      {
        name: "one",
        labels: { zone: "x" },
        taints: [{ key: "t", value: "v", effect: "NoSchedule" }],
      },
      {
        name: "two",
        labels: { zone: "x" },
        taints: [{ key: "t", value: "v", effect: "NoSchedule" }],
      },
    ],
  });
  const spec = {
    tolerations: [{ key: "t", operator: "Equal", value: "v" }],
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: "zone", operator: "In", values: ["x"] }] },
          ],
        },
      },
    },
  };
  world.createPod("p1", "sleep 60", { spec });
  world.createPod("p2", "sleep 60", { spec });
  const nodes = ["p1", "p2"].map((name) => world.pod(name).spec?.nodeName);
  expect(new Set(nodes)).toEqual(new Set(["one", "two"]));
});

test("says so where there is no node, and binds once one comes", async () => {
  await using world = new World({ nodes: [] });
  world.createPod("early", "true");
  expect(world.pod("early").status?.conditions?.[0]?.message).toBe(
    "no nodes available to schedule pods",
  );
  world.machines.addNode({ name: "late" });
  await world.untilPhase("early", "Succeeded");
});
