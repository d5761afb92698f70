import type { ServerResponse } from "node:http";
import { expect, it } from "vitest";
import { refuse, reply, type Seen } from "./ground-server.ts";
import { workerSpec } from "./pod-specs.ts";
import { names, never, newSpec, open } from "./provider-open.ts";
import { startProviderCluster } from "./provider-cluster.ts";

const forbidden = { reason: "Forbidden", message: "no" };

/** A cluster whose pods may be seen in the namespaces of two tenants only. */
function namespacesOnly({ method, path }: Seen, response: ServerResponse): boolean {
  if (method !== "GET") return false;
  if (path === "/api/v1/pods" || path === "/api/v1/secrets" || path.includes("tenant-secret")) {
    refuse(response, 403, forbidden);
    return true;
  }
  if (path !== "/api/v1/namespaces") return false;
  const tenants = ["hodei-tenant-acme", "hodei-tenant-secret"];
  reply(response, 200, { items: tenants.map((name) => ({ metadata: { name } })) });
  return true;
}

it("workers are found namespace by namespace where the cluster may not be listed", async () => {
  await using cluster = await startProviderCluster();
  cluster.intercept = namespacesOnly;
  const config = { dynamicNamespaces: true };
  const acme = newSpec({ tenant: "acme" });
  const other = newSpec({ tenant: "other" });
  await using old = await cluster.open(config);
  const { uid } = await old.startWorker(acme, never);
  const { uid: otherUid } = await old.startWorker(other, never);
  expect(names(cluster.pods)).toEqual([
    `hodei-tenant-acme/${old.resourceName(acme.workerId)}`,
    `hodei-tenant-other/${old.resourceName(other.workerId)}`,
  ]);
  expect(await old.listWorkers()).toEqual([
    { id: acme.workerId, uid, isRunning: true },
    { id: other.workerId, uid: otherUid, isRunning: true },
  ]);
  await old[Symbol.asyncDispose]();
  await using provider = await cluster.open(config);
  expect(await provider.listWorkers()).toEqual([{ id: acme.workerId, uid, isRunning: true }]);
  await provider.stopWorker(acme.workerId, 0);
  expect(names(cluster.pods)).toHaveLength(1);
});

it("a namespace that cannot be made ready is the provider's health, and the reason of a failed start", async () => {
  await using cluster = await startProviderCluster();
  const message =
    'resourcequotas "q" is forbidden: User "u" cannot patch resource "resourcequotas" in API group "" in the namespace "hodei-jobs-workers"';
  cluster.intercept = (seen, response) => {
    if (!seen.path.includes("resourcequotas")) return false;
    refuse(response, 403, { reason: "Forbidden", message });
    return true;
  };
  await using provider = await cluster.open();
  const health = await provider.health();
  expect(health.state).toBe("degraded");
  expect(health.reason).toContain("patch resourcequotas in namespace hodei-jobs-workers");
  await expect(provider.startWorker(newSpec(), never)).rejects.toMatchObject({
    name: "StartError",
    failure: { evidence: { kind: "forbidden" } },
  });
  cluster.intercept = () => false;
  await provider.startWorker(newSpec(), never);
  expect(await provider.health()).toMatchObject({ state: "healthy" });
});

it("a pod that was removed by force is not dead before the watch has had its say", async () => {
  const { cluster, provider } = await open();
  const spec = newSpec();
  const { uid } = await provider.startWorker(spec, never);
  await expect
    .poll(() => provider.confirmDead(spec.workerId, uid), { timeout: 5_000 })
    .toBe("alive");
  cluster.intercept = (seen, response) => {
    if (!seen.path.includes(provider.resourceName(spec.workerId))) return false;
    refuse(response, 404, { reason: "NotFound", message: "not found" });
    return true;
  };
  expect(await provider.confirmDead(spec.workerId, uid)).toBe("unknown");
  expect(await provider.confirmDead(spec.workerId, "another")).toBe("dead");
});

it("a cluster that does not answer holds up no server, and no start is left open", async () => {
  await using cluster = await startProviderCluster();
  cluster.intercept = (_, response) => {
    response.destroy();
    return true;
  };
  await using provider = await cluster.open({ requestTimeoutMs: 200 });
  expect(await provider.health()).toMatchObject({ state: "unhealthy" });
  await expect(provider.startWorker(workerSpec(), never)).rejects.toMatchObject({
    name: "StartError",
    failure: { blame: "provider" },
  });
}, 60_000);
