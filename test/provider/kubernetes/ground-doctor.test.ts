import type { ServerResponse } from "node:http";
import { expect, test } from "vitest";
import type { KubernetesConfig } from "#provider/kubernetes/config.ts";
import { type Check, diagnose, reachableCheck } from "#provider/kubernetes/doctor.ts";
import { permissionsOf } from "#provider/kubernetes/permissions.ts";
import { refuse, reply, type Seen, silent, startTinyApi, type TinyApi } from "./ground-server.ts";

const workers = "/api/v1/namespaces/hodei-jobs-workers";

interface Attributes {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string;
}

/** A cluster where all is well, but what `answer` answers. */
function startCluster(
  answer: (seen: Seen, response: ServerResponse) => boolean = () => false,
): Promise<TinyApi> {
  return startTinyApi((seen, response) => {
    if (answer(seen, response)) return;
    const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
    const answers: Record<string, unknown> = {
      "/version": { major: "1", minor: "36", gitVersion: "v1.36.2" },
      [workers]: { metadata: { name: "hodei-jobs-workers", labels }, status: { phase: "Active" } },
      [`${workers}/pods`]: {},
      [`${workers}/resourcequotas`]: {
        items: [{ metadata: { name: "q" }, status: { hard: { pods: "9" }, used: { pods: "2" } } }],
      },
      [`${workers}/secrets/regcred`]: { type: "kubernetes.io/dockerconfigjson" },
      "/apis/apps/v1/daemonsets": { items: [{ metadata: { name: "cilium" } }] },
      "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": { status: { allowed: true } },
    };
    const found = answers[seen.path];
    if (found === undefined) refuse(response, 404, { reason: "NotFound" });
    else reply(response, 200, found);
  });
}

async function ask(api: TinyApi, more: Partial<KubernetesConfig> = {}): Promise<readonly Check[]> {
  return diagnose({ ...api.config, imagePullSecrets: ["regcred"], ...more }, { log: silent });
}

function named(checks: readonly Check[], name: string): Check | undefined {
  return checks.find((check) => check.name === name);
}

test("where all is well every check passes", async () => {
  await using api = await startCluster();
  const checks = await ask(api);
  expect(checks.filter(({ ok }) => ok !== "pass")).toEqual([]);
  expect(named(checks, reachableCheck)?.message).toContain("v1.36.2");
  expect(named(checks, "quota: q")?.message).toContain("room for 7 more workers");
  const dryRun = api.seen.find(({ path }) => path === `${workers}/pods`);
  expect(dryRun?.query.get("dryRun")).toBe("All");
  expect(dryRun?.body).toMatchObject({ kind: "Pod" });
});

test("every verb of the table is asked for once", async () => {
  await using api = await startCluster();
  await ask(api);
  const asked = api.seen
    .filter(({ path }) => path.endsWith("selfsubjectaccessreviews"))
    .map(({ body }) => (body as { spec: { resourceAttributes: Attributes } }).spec)
    .map(({ resourceAttributes: { verb, group, resource, subresource } }) =>
      [verb, group, subresource === undefined ? resource : `${resource}/${subresource}`].join(" "),
    );
  const config = { ...api.config, imagePullSecrets: ["regcred"] };
  const wanted = permissionsOf(config).flatMap(({ verbs, apiGroup, resource }) =>
    verbs.map((verb) => [verb, apiGroup, resource].join(" ")),
  );
  expect(asked.toSorted()).toEqual([...new Set(wanted)].toSorted());
});

test("a missing right is a failure with a hint, an optional one a warning", async () => {
  await using api = await startCluster((seen, response) => {
    const text = JSON.stringify(seen.body ?? "");
    const isRefused = text.includes('"delete"') || text.includes('"nodes"');
    if (isRefused) reply(response, 201, { status: { allowed: false } });
    return isRefused;
  });
  const checks = await ask(api);
  expect(named(checks, "permission: pods")).toMatchObject({
    ok: "fail",
    message: "may not delete pods in namespace hodei-jobs-workers: workers are pods",
    hint: expect.stringContaining("hodei manifests"),
  });
  expect(named(checks, "permission: nodes")?.ok).toBe("warn");
});

test("a cluster that is not there is the only finding", async () => {
  const api = await startCluster();
  await api[Symbol.asyncDispose]();
  const checks = await ask(api);
  expect(checks).toHaveLength(1);
  expect(checks[0]).toMatchObject({ name: reachableCheck, ok: "fail" });
});

test("a worker pod that Pod Security refuses is a failure that says what to do", async () => {
  const message =
    'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false';
  await using api = await startCluster((seen, response) => {
    const isPod = seen.path === `${workers}/pods`;
    if (isPod) refuse(response, 403, { reason: "Forbidden", message });
    return isPod;
  });
  expect(named(await ask(api), "worker pod")).toMatchObject({
    ok: "fail",
    message: `a worker pod is refused: ${message}`,
    hint: expect.stringContaining("HODEI_K8S_POD_SECURITY_STANDARD"),
  });
});

test("before the first start nothing fails for what the server makes", async () => {
  await using api = await startCluster((seen, response) => {
    const isInside = seen.path.startsWith(workers) && !seen.path.includes("secrets");
    if (isInside) refuse(response, 404, { reason: "NotFound" });
    return isInside;
  });
  const checks = await ask(api);
  expect(checks.filter(({ ok }) => ok === "fail")).toEqual([]);
  expect(named(checks, "namespace")).toMatchObject({ ok: "pass" });
  expect(named(await ask(api, { createInfrastructure: false }), "namespace")?.ok).toBe("fail");
});

test.for([
  ["a missing pull secret", 404, {}, "is missing in namespace hodei-jobs-workers"],
  ["one of another type", 200, { type: "Opaque" }, "is of type Opaque, not for pulling images"],
] as const)("%s is a failure", async ([, status, body, message]) => {
  await using api = await startCluster((seen, response) => {
    const isSecret = seen.path.includes("/secrets/");
    if (isSecret) reply(response, status, body);
    return isSecret;
  });
  expect(named(await ask(api), "pull secret: regcred")).toMatchObject({ ok: "fail", message });
});

test("a namespace that is stricter than the pods, a full quota and an unknown network are warnings", async () => {
  await using api = await startCluster((seen, response) => {
    if (seen.path.includes("daemonsets")) reply(response, 200, { items: [] });
    else if (seen.path.includes("resourcequotas")) {
      const status = { hard: { pods: "2" }, used: { pods: "2" } };
      reply(response, 200, { items: [{ metadata: { name: "q" }, status }] });
    } else return false;
    return true;
  });
  const checks = await ask(api, { podSecurityStandard: "baseline", bindWorkerRole: true });
  const warned = checks.filter(({ ok }) => ok === "warn");
  expect(warned.map(({ name }) => name)).toEqual([
    "namespace",
    "quota: q",
    "network policy",
    "worker role",
  ]);
  expect(warned.every(({ hint }) => hint !== "")).toBe(true);
});
