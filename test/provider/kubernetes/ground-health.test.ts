import { expect, test, vi } from "vitest";
import { nodeRoom, quotaRoom, startCapacity } from "#provider/kubernetes/capacity.ts";
import { defaultKubernetesConfig } from "#provider/kubernetes/config.ts";
import { checkHealth } from "#provider/kubernetes/health.ts";
import { refuse, reply, silent, startTinyApi } from "./ground-server.ts";

test("a cluster that lists pods is healthy", async () => {
  await using api = await startTinyApi((_, response) => reply(response, 200, { items: [] }));
  const connection = await api.connect();
  expect(await checkHealth(connection, "ci")).toEqual({ state: "healthy", reason: "" });
  expect(api.seen[0]).toMatchObject({ path: "/api/v1/namespaces/ci/pods" });
  expect(api.seen[0]?.query.get("limit")).toBe("1");
});

test("a missing right is degraded, and named", async () => {
  await using api = await startTinyApi((_, response) =>
    refuse(response, 403, {
      reason: "Forbidden",
      message:
        'pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "ci"',
    }),
  );
  expect(await checkHealth(await api.connect(), "ci")).toEqual({
    state: "degraded",
    reason: "insufficient permissions in namespace ci: list pods in namespace ci",
  });
});

test("a cluster that fails, or is not there, is unhealthy", async () => {
  const api = await startTinyApi((_, response) => refuse(response, 500, { message: "etcd" }));
  const connection = await api.connect();
  expect(await checkHealth(connection, "ci")).toEqual({
    state: "unhealthy",
    reason: "cannot reach the Kubernetes API: etcd",
  });
  await api[Symbol.asyncDispose]();
  expect(await checkHealth(connection, "ci")).toMatchObject({ state: "unhealthy" });
});

const config = {
  ...defaultKubernetesConfig,
  agentMemoryBytes: 0,
  defaultCpuRequest: "500m",
  defaultMemoryRequest: "1Gi",
};
const noWish = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" };

test.for([
  ["the number of pods", { pods: "10" }, { pods: "4" }, 6],
  ["requested CPU", { "requests.cpu": "2" }, { "requests.cpu": "1300m" }, 1],
  ["requested memory", { "requests.memory": "4Gi" }, { "requests.memory": "1Gi" }, 3],
  ["the least of all", { pods: "10", "limits.cpu": "4" }, { pods: "0", "limits.cpu": "0" }, 2],
  ["what is used up", { pods: "10" }, { pods: "11" }, 0],
  ["nothing that workers use", { services: "1" }, { services: "1" }, Infinity],
] as const)("a quota leaves the room of %s", ([, hard, used, room]) => {
  expect(quotaRoom(config, [{ status: { hard, used } }])).toBe(room);
});

test("a small worker takes of a quota the limit that its agent needs", () => {
  const small = { ...noWish, cpuMillis: 100 };
  const quota = (name: string) => [{ status: { hard: { [name]: "2" }, used: {} } }];
  expect(quotaRoom(config, quota("requests.cpu"), small)).toBe(20);
  expect(quotaRoom(config, quota("limits.cpu"), small)).toBe(4);
  expect(quotaRoom({ ...config, agentCpuMillis: 0 }, quota("limits.cpu"), small)).toBe(20);
});

test("a quota for some pods only leaves any room", () => {
  const quota = { spec: { scopes: ["BestEffort"] }, status: { hard: { pods: "0" } } };
  expect(quotaRoom(config, [quota])).toBe(Infinity);
});

const allocatable = { cpu: "4", memory: "6Gi", pods: "110" };

test("nodes hold what fits, unless they are closed to workers", () => {
  const taint = { key: "gpu", value: "yes", effect: "NoSchedule" };
  const nodes = [
    { metadata: { labels: { disk: "ssd" } }, status: { allocatable } },
    { metadata: { labels: { disk: "ssd" } }, spec: { taints: [taint] }, status: { allocatable } },
    { metadata: { labels: { disk: "hdd" } }, status: { allocatable } },
  ];
  expect(nodeRoom(config, nodes)).toBe(12);
  expect(nodeRoom({ ...config, nodeSelector: { disk: "ssd" } }, nodes)).toBe(6);
  const tolerations = [{ key: "gpu", operator: "Exists" }];
  expect(nodeRoom({ ...config, tolerations }, nodes)).toBe(18);
});

test("small workers fit more often, large ones less", () => {
  const nodes = [{ status: { allocatable } }];
  expect(nodeRoom(config, nodes, { ...noWish, cpuMillis: 100, memoryBytes: 2 ** 26 })).toBe(40);
  expect(nodeRoom(config, nodes, { ...noWish, cpuMillis: 3_000 })).toBe(1);
  expect(nodeRoom(config, nodes, { ...noWish, cpuMillis: 5_000 })).toBe(0);
});

test("nodes that come and go by themselves bound nothing", () => {
  const metadata = { labels: { "karpenter.sh/nodepool": "default" } };
  expect(nodeRoom(config, [{ metadata, status: { allocatable } }])).toBe(Infinity);
});

test("capacity is the least of what is configured, the quotas and the nodes", async () => {
  let isBroken = false;
  await using api = await startTinyApi((seen, response) => {
    if (isBroken) refuse(response, 503);
    else if (seen.path === "/api/v1/nodes")
      reply(response, 200, { items: [{ status: { allocatable } }] });
    else {
      const status = { hard: { pods: "5" }, used: { pods: "3" } };
      reply(response, 200, { items: [{ status }] });
    }
  });
  const connection = await api.connect();
  const options = { connection, config: api.config, log: silent, countWorkers: () => 2 };
  await using gauge = startCapacity(options);
  await vi.waitUntil(() => gauge.read().maxWorkers === 4);
  isBroken = true;
  await gauge.refresh();
  expect(gauge.read()).toEqual({ maxWorkers: 4 });
});

test("what may not be read bounds nothing", async () => {
  await using api = await startTinyApi((_, response) => refuse(response, 403));
  const connection = await api.connect();
  await using gauge = startCapacity({
    connection,
    config: api.config,
    log: silent,
    countWorkers: () => 0,
  });
  await gauge.refresh();
  expect(gauge.read()).toEqual({ maxWorkers: 100 });
});
