import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { defaultsOf, type KubernetesConfig } from "#provider/kubernetes/config.ts";
import { type Connection, openConnection } from "#provider/kubernetes/connection.ts";
import { diagnose } from "#provider/kubernetes/doctor.ts";
import { startInfrastructure } from "#provider/kubernetes/infrastructure-keep.ts";
import { openKubernetesProvider } from "#provider/kubernetes/kubernetes-provider.ts";
import { accessObjects } from "#provider/kubernetes/manifests-access.ts";
import { clusterRules } from "#provider/kubernetes/permissions.ts";
import type { KubeObject } from "../../fake/kubernetes/objects.ts";
import { startKubernetes, type KubernetesDouble } from "../../fake/kubernetes/kubernetes.ts";
import { silent } from "./ground-server.ts";
import { workerSpec } from "./pod-specs.ts";

// The server with no other rights than the manifests give it, at an API server that enforces them.

let double: KubernetesDouble;
let directory: string;
let config: KubernetesConfig;
let connection: Connection;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "hodei-rights-"));
  double = await startKubernetes({ tls: false });
  config = {
    ...defaultsOf("standard"),
    dynamicNamespaces: true,
    allowInsecure: true,
    kubeconfigPath: join(directory, "config"),
  };
  double.addNamespace("hodei-system");
  double.addNamespace(config.namespace);
  install(config);
  const account = double.serviceAccount("hodei-system", "hodei-control-plane");
  await double.writeKubeconfig(join(directory, "config"), account);
  connection = await openConnection(config, { log: silent });
});

afterEach(async () => {
  await connection[Symbol.asyncDispose]();
  await double[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

const plurals = {
  ServiceAccount: "serviceaccounts",
  ClusterRole: "clusterroles",
  ClusterRoleBinding: "clusterrolebindings",
  RoleBinding: "rolebindings",
} as const;

function install(given: KubernetesConfig): void {
  for (const object of accessObjects(given)) {
    const plural = plurals[object.kind as keyof typeof plurals];
    // A policy of admission is no matter of rights.
    if (plural === undefined) continue;
    // As it comes over the wire.
    double.objects.create(plural, JSON.parse(JSON.stringify(object)) as KubeObject);
  }
}

const statusOf = (method: "GET" | "PATCH", path: string, body?: object): Promise<unknown> =>
  connection
    .request({
      method,
      path,
      body,
      query: method === "PATCH" ? { fieldManager: "x", force: "true" } : {},
      contentType: "application/apply-patch+yaml",
    })
    .then(
      () => 200,
      (error: unknown) => (error as { status: number }).status,
    );

const rolesOf = (namespace: string): string[] =>
  double.objects.list("rolebindings", namespace).map(({ metadata }) => metadata.name);

test("a tenant's namespace is made with rights that the server gives itself there, and nowhere else", async () => {
  await using kept = startInfrastructure({ connection, config, log: silent });
  await kept.ensure("hodei-tenant-acme", "acme");
  expect(rolesOf("hodei-tenant-acme").toSorted()).toEqual([
    "hodei-jobs-worker-binding",
    "hodei-worker-namespaces",
  ]);
  const secrets = (namespace: string) => `/api/v1/namespaces/${namespace}/secrets`;
  expect(await statusOf("GET", secrets("hodei-tenant-acme"))).toBe(200);
  expect(await statusOf("GET", secrets("kube-system"))).toBe(403);
  expect(await statusOf("GET", "/api/v1/secrets")).toBe(403);
});

test("no role but that of worker namespaces can be bound", async () => {
  const name = "more";
  const binding = (role: string) => ({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "RoleBinding",
    metadata: { name, namespace: "default" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: role },
    subjects: [{ kind: "ServiceAccount", name: "hodei-control-plane", namespace: "hodei-system" }],
  });
  const path = `/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings/${name}`;
  expect(await statusOf("PATCH", path, binding("cluster-admin"))).toBe(403);
  expect(await statusOf("PATCH", path, binding("hodei-worker-namespaces"))).toBe(200);
});

test("a second look changes nothing, and a lost binding is made again", async () => {
  const make = async (): Promise<string[]> => {
    await using kept = startInfrastructure({ connection, config, log: silent });
    await kept.ensure("hodei-tenant-acme", "acme");
    return double.objects
      .list("rolebindings", "hodei-tenant-acme")
      .map(({ metadata }) => `${metadata.name} ${metadata.resourceVersion}`);
  };
  const first = await make();
  expect(await make()).toEqual(first);
  for (const name of rolesOf("hodei-tenant-acme")) {
    double.objects.remove("rolebindings", { name, namespace: "hodei-tenant-acme" });
  }
  expect(rolesOf("hodei-tenant-acme")).toEqual([]);
  await make();
  expect(rolesOf("hodei-tenant-acme")).toContain("hodei-worker-namespaces");
});

test("an API server that hears of the binding late is asked again", async () => {
  double.knobs.fail(
    { verb: "patch", resource: "serviceaccounts" },
    { code: 403, message: forbidden("patch", "serviceaccounts") },
    4,
  );
  await using kept = startInfrastructure({ connection, config, log: silent });
  await kept.ensure("hodei-tenant-acme", "acme");
  expect(rolesOf("hodei-tenant-acme")).toContain("hodei-worker-namespaces");
});

test("without the right to bind it is said which right is missing in the namespace", async () => {
  const rules = clusterRules(config).filter(({ verbs }) => !verbs.includes("bind"));
  double.objects.remove("clusterroles", { name: "hodei-control-plane" });
  double.objects.create("clusterroles", { metadata: { name: "hodei-control-plane" }, rules });
  await using kept = startInfrastructure({ connection, config, log: silent });
  await expect(kept.ensure("hodei-tenant-acme", "acme")).rejects.toMatchObject({
    kind: "forbidden",
    denial: { verb: "patch", resource: "serviceaccounts", namespace: "hodei-tenant-acme" },
  });
});

test("the doctor finds every right that is used, and misses the right to bind", async () => {
  const failed = async (): Promise<string[]> =>
    (await diagnose(config, { log: silent }))
      .filter(({ name, ok }) => name.startsWith("permission") && ok !== "pass")
      .map(({ message }) => message);
  expect(await failed()).toEqual([]);
  double.objects.remove("clusterroles", { name: "hodei-control-plane" });
  expect((await failed()).join("\n")).toContain(
    "may not bind clusterroles.rbac.authorization.k8s.io in the whole cluster",
  );
});

test("Secrets that were left in tenants' namespaces are found by a server that did not make them", async () => {
  await using kept = startInfrastructure({ connection, config, log: silent });
  await kept.ensure("hodei-tenant-acme", "acme");
  const { workerId } = workerSpec();
  double.objects.create("secrets", {
    metadata: {
      name: `hodei-worker-${workerId}`,
      namespace: "hodei-tenant-acme",
      labels: {
        "hodei.io/managed": "true",
        "hodei.io/instance": "server",
        "hodei.io/worker-id": workerId,
      },
    },
  });
  await using provider = await openKubernetesProvider({
    name: "kubernetes",
    config,
    instanceId: "server",
    log: silent,
    reapIntervalMs: 50,
  });
  expect(provider.name).toBe("kubernetes");
  await expect
    .poll(() => double.objects.list("secrets", "hodei-tenant-acme").map((one) => one.metadata.name))
    .toEqual([]);
});

function forbidden(verb: string, resource: string): string {
  return `${resource} "x" is forbidden: User "u" cannot ${verb} resource "${resource}" in API group "" in the namespace "hodei-tenant-acme"`;
}
