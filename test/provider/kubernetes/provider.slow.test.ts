import { describe, expect, it } from "vitest";
import { workerIdOf } from "#job/id.ts";
import { podNameOf, selectorOf } from "#provider/kubernetes/names.ts";
import { buildSecret } from "#provider/kubernetes/secret.ts";
import { refuse, type Seen } from "./ground-server.ts";
import { configWith, place, workerSpec } from "./pod-specs.ts";
import { at, names, never, newSpec, open } from "./provider-open.ts";

const isCall =
  (method: string, resource: string) =>
  (seen: Seen): boolean =>
    seen.method === method && seen.path.includes(`/${resource}`);

describe("a worker's life", () => {
  it("takes four calls: create and delete, of Secret and pod", async () => {
    const { cluster, provider } = await open();
    const spec = newSpec();
    const { uid } = await provider.startWorker(spec, never);
    expect(names(cluster.pods)).toEqual([at(spec.workerId)]);
    expect(names(cluster.secrets)).toEqual([at(spec.workerId)]);
    await provider.forgetToken?.(spec.workerId);
    await provider.forgetToken?.(spec.workerId);
    expect(names(cluster.secrets)).toEqual([]);
    cluster.end(spec.workerId, 0);
    await expect.poll(() => names(cluster.pods)).toEqual([]);
    await provider.stopWorker(spec.workerId, 1_000);
    expect(await provider.confirmDead(spec.workerId, uid)).toBe("dead");
    const calls = ["POST secrets", "POST pods", "DELETE secrets", "DELETE pods"];
    expect(cluster.calls).toEqual(calls);
  });

  it("takes two calls beside the review of its token where it is attested", async () => {
    const { cluster, provider } = await open({ attestation: true });
    const spec = newSpec();
    await provider.startWorker(spec, never);
    await provider.forgetToken?.(spec.workerId);
    await provider.stopWorker(spec.workerId, 1_000);
    expect(cluster.calls).toEqual(["POST pods", "DELETE pods"]);
    expect(cluster.applied.filter((path) => path.includes("configmaps"))).toHaveLength(1);
    expect(await provider.attest?.({ id: spec.workerId, uid: "u" }, "a.b.c")).toBe(false);
  });

  it("is stopped with its grace, in whole seconds and at least one", async () => {
    const { cluster, provider } = await open();
    const bodies: unknown[] = [];
    cluster.intercept = (seen) => {
      if (isCall("DELETE", "pods")(seen)) bodies.push(seen.body);
      return false;
    };
    for (const graceMs of [0, 1_500]) {
      const spec = newSpec();
      const { uid } = await provider.startWorker(spec, never);
      await provider.stopWorker(spec.workerId, graceMs);
      expect(bodies.pop()).toEqual({
        gracePeriodSeconds: graceMs === 0 ? 1 : 2,
        preconditions: { uid },
      });
      expect(await provider.confirmDead(spec.workerId, uid)).toBe("dead");
      expect(names(cluster.secrets)).toEqual([]);
    }
  });

  it("is found by its labels after a restart of the server", async () => {
    const { cluster, provider: old } = await open();
    const spec = newSpec();
    const { uid } = await old.startWorker(spec, never);
    await old[Symbol.asyncDispose]();
    await using provider = await cluster.open();
    const { workerId: id } = spec;
    expect(await provider.listWorkers()).toEqual([{ id, uid, isRunning: true }]);
    expect(await provider.confirmDead(id, uid)).toBe("alive");
    expect(await provider.confirmDead(id, "another")).toBe("dead");
    await provider.stopWorker(id, 1_000);
    expect(names(cluster.pods)).toEqual([]);
    expect(names(cluster.secrets)).toEqual([]);
  });

  it("is another server's where the instance is", async () => {
    const { cluster, provider } = await open();
    await using other = await cluster.open({}, { instanceId: "other" });
    const spec = newSpec();
    const { uid } = await provider.startWorker(spec, never);
    expect(await other.listWorkers()).toEqual([]);
    await other.stopWorker(spec.workerId, 0);
    expect(await provider.confirmDead(spec.workerId, uid)).toBe("alive");
    await expect(other.startWorker(spec, never)).rejects.toMatchObject({
      name: "StartError",
      failure: { blame: "provider" },
    });
    expect(names(cluster.secrets)).toEqual([at(spec.workerId)]);
  });
});

describe("a start", () => {
  it("of an id that runs answers the running one", async () => {
    const { cluster, provider } = await open();
    const spec = newSpec();
    const [one, other] = await Promise.all([
      provider.startWorker(spec, never),
      provider.startWorker(spec, never),
    ]);
    expect(other).toEqual(one);
    expect(await provider.startWorker(spec, never)).toEqual(one);
    expect(names(cluster.pods)).toHaveLength(1);
  });

  it("whose pod's answer was lost finds the pod by its name", async () => {
    const { cluster, provider } = await open();
    let lost = 0;
    cluster.intercept = (seen, response) => {
      if (!isCall("POST", "pods")(seen) || lost++ > 0) return false;
      cluster.put(structuredClone(seen.body) as never);
      response.destroy();
      return true;
    };
    const spec = newSpec();
    const { uid } = await provider.startWorker(spec, never);
    expect(cluster.pods.get(at(spec.workerId))?.metadata?.uid).toBe(uid);
    expect(names(cluster.pods)).toHaveLength(1);
  });

  it("whose calls were lost on the way is made again", async () => {
    const { cluster, provider } = await open();
    const lost = new Set<string>();
    cluster.intercept = (seen, response) => {
      if (seen.method !== "POST" || lost.has(seen.path)) return false;
      lost.add(seen.path);
      response.destroy();
      return true;
    };
    const spec = newSpec();
    await provider.startWorker(spec, never);
    expect(names(cluster.pods)).toEqual([at(spec.workerId)]);
    expect(names(cluster.secrets)).toEqual([at(spec.workerId)]);
  });

  it("whose outcome stays unknown says so, and is no StartError", async () => {
    const { cluster, provider } = await open();
    cluster.intercept = (seen, response) => {
      if (!isCall("POST", "pods")(seen)) return false;
      response.destroy();
      return true;
    };
    const starting = provider.startWorker(newSpec(), never);
    await expect(starting).rejects.toMatchObject({ name: "KubeError", isOutcomeUnknown: true });
  });

  it.for([
    [
      403,
      'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1',
      "quota",
    ],
    [403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged', "policy"],
    [422, 'Pod "x" is invalid', "system"],
  ] as const)(
    "refused with %d leaves nothing, and says whose fault it is",
    async ([status, message, blame]) => {
      const { cluster, provider } = await open();
      cluster.intercept = (seen, response) => {
        if (!isCall("POST", "pods")(seen)) return false;
        refuse(response, status, { reason: "Forbidden", message });
        return true;
      };
      await expect(provider.startWorker(newSpec(), never)).rejects.toMatchObject({
        name: "StartError",
        failure: { stage: "creating", blame },
      });
      expect(names(cluster.secrets)).toEqual([]);
    },
  );

  it("that meets a quota which others write at the same time tries again", async () => {
    const { cluster, provider } = await open();
    let conflicts = 0;
    cluster.intercept = (seen, response) => {
      if (!isCall("POST", "pods")(seen) || conflicts++ > 1) return false;
      refuse(response, 409, { reason: "Conflict", message: "Operation cannot be fulfilled" });
      return true;
    };
    await provider.startWorker(newSpec(), never);
    expect(names(cluster.pods)).toHaveLength(1);
  });

  it("in a namespace that somebody deleted makes it again, once", async () => {
    const { cluster, provider } = await open({ dynamicNamespaces: true });
    let missing = 1;
    cluster.intercept = (seen, response) => {
      if (!isCall("POST", "secrets")(seen) || missing-- <= 0) return false;
      const message = 'namespaces "hodei-tenant-acme" not found';
      refuse(response, 404, { reason: "NotFound", message });
      return true;
    };
    await provider.startWorker(newSpec({ tenant: "acme" }), never);
    const made = cluster.applied.filter((path) => path.endsWith("/namespaces/hodei-tenant-acme"));
    expect(made).toHaveLength(2);
    await provider.startWorker(newSpec({ tenant: "acme" }), never);
    expect(names(cluster.pods)).toHaveLength(2);
    missing = 2;
    await expect(provider.startWorker(newSpec({ tenant: "acme" }), never)).rejects.toMatchObject({
      name: "StartError",
    });
  });

  it("without a tenant is refused where every tenant has a namespace", async () => {
    const { provider } = await open({ dynamicNamespaces: true });
    await expect(provider.startWorker(newSpec(), never)).rejects.toMatchObject({
      name: "StartError",
      failure: { blame: "policy" },
    });
  });

  it.for(["secrets", "pods"])("aborted while its %s are made leaves nothing", async (resource) => {
    const { cluster, provider } = await open();
    const abort = new AbortController();
    cluster.intercept = (seen) => {
      if (isCall("POST", resource)(seen)) abort.abort();
      return false;
    };
    const starting = provider.startWorker(newSpec(), abort.signal);
    await expect(starting).rejects.toMatchObject({ name: "AbortError" });
    await expect.poll(() => [...names(cluster.pods), ...names(cluster.secrets)]).toEqual([]);
    expect(await provider.listWorkers()).toEqual([]);
  });

  it("is given up when making its pod takes too long", async () => {
    const { cluster, provider } = await open({ creationTimeoutSeconds: 1 });
    cluster.intercept = (seen) => isCall("POST", "pods")(seen);
    const starting = provider.startWorker(newSpec(), never);
    await expect(starting).rejects.toMatchObject({ name: "TimeoutError" });
    cluster.intercept = () => false;
  });

  it("replaces a Secret that an earlier start left without a pod", async () => {
    const { cluster, provider } = await open();
    const spec = newSpec();
    cluster.putSecret(buildSecret(configWith(), { ...spec, otp: "old" }, place));
    await provider.startWorker(spec, never);
    const { data } = cluster.secrets.get(at(spec.workerId)) ?? {};
    expect(Buffer.from(data?.["otp"] ?? "", "base64").toString()).toBe(spec.otp);
  });
});

it("says what it can, what it costs and whom it refuses", async () => {
  const { cluster, provider } = await open();
  expect(provider.capabilities).toMatchObject({
    survivesRestart: true,
    bindsTenant: false,
    bindsJob: true,
  });
  const { workerClass } = workerSpec({ resources: { memoryBytes: 2 ** 40 } });
  expect(provider.refusalOf(workerClass)).toContain("quota");
  expect(provider.refusalOf(workerSpec().workerClass)).toBeUndefined();
  expect(provider.pricePerHour(workerClass.resources)).toBeGreaterThan(5);
  expect(provider.resourceName(workerIdOf(1))).toBe(podNameOf(workerIdOf(1)));
  expect(provider.startEstimateMs()).toBeGreaterThan(0);
  expect(provider.capacity().maxWorkers).toBeGreaterThan(0);
  expect(await provider.health()).toMatchObject({ state: "healthy" });
  cluster.intercept = (seen, response) => {
    if (seen.method !== "GET") return false;
    refuse(response, 403, { reason: "Forbidden", message: "no" });
    return true;
  };
  expect(await provider.health()).toMatchObject({ state: "degraded" });
  expect(selectorOf("a b")).not.toContain(" ");
});
