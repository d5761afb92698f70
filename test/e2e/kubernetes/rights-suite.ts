import {
  CoreV1Api,
  KubeConfig,
  type KubernetesObject,
  KubernetesObjectApi,
  RbacAuthorizationV1Api,
} from "@kubernetes/client-node";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { workersRole } from "#provider/kubernetes/permissions.ts";
import { manifestsOf } from "../../../src/server-manifests.ts";
import { type Cluster, Ground, hookMs, openMs, type Running, testMs } from "./ground.ts";

const account = "hodei-control-plane";

/** A server that is no admin: with what `hodei manifests --tenant-namespaces` gives it, and nothing else. */
export function rightsSuite(name: string, open: () => Promise<Cluster>): void {
  describe(`the server's rights on ${name}`, { timeout: testMs }, () => {
    let ground: Ground;
    let hodei: Running;
    let server: KubeConfig;
    const parts = new AsyncDisposableStack();

    beforeAll(async () => {
      ground = parts.use(new Ground(await open()));
      const system = `${ground.prefix}-system`;
      const env = {
        HODEI_K8S_NAMESPACE: `${ground.prefix}-workers`,
        HODEI_K8S_NAMESPACE_PREFIX: `${ground.prefix}-t`,
        HODEI_K8S_CONTROL_NAMESPACE: system,
      };
      for (const namespace of [system, env.HODEI_K8S_NAMESPACE]) {
        await ground.core.createNamespace({ body: { metadata: { name: namespace } } });
      }
      await install(ground, env, parts);
      server = await signIn(ground, system);
      const directory = mkdtempSync(join(tmpdir(), "hodei-e2e-rights-"));
      parts.defer(() => rmSync(directory, { recursive: true }));
      const kubeconfig = join(directory, "config");
      writeFileSync(kubeconfig, server.exportConfig(), { mode: 0o600 });
      hodei = await ground.start({
        env: {
          ...env,
          HODEI_K8S_KUBECONFIG: kubeconfig,
          HODEI_K8S_ENABLE_DYNAMIC_NAMESPACES: "1",
        },
      });
    }, openMs);
    afterAll(() => parts.disposeAsync(), hookMs);

    test("are enough to make a tenant's namespace, run its job, and leave nothing", async () => {
      const { job, output } = await hodei.run({ command: ["echo", "with few rights"] }, "acme");
      expect(job).toMatchObject({ state: "succeeded" });
      expect(output).toBe("with few rights\n");
      await hodei.isClean();
    });

    test("reach Secrets in namespaces of workers, and in no other", async () => {
      const core = server.makeApiClient(CoreV1Api);
      await core.listNamespacedSecret({ namespace: `${ground.prefix}-t-acme` });
      for (const namespace of ["kube-system", `${ground.prefix}-system`]) {
        await expect(core.listNamespacedSecret({ namespace })).rejects.toMatchObject({ code: 403 });
      }
      await expect(core.listSecretForAllNamespaces()).rejects.toMatchObject({ code: 403 });
    });

    test("cannot be widened: no other role can be bound, and on a cluster with policies this one in no other namespace", async () => {
      const rbac = server.makeApiClient(RbacAuthorizationV1Api);
      const bind = (namespace: string, role: string) =>
        rbac.createNamespacedRoleBinding({
          namespace,
          dryRun: "All",
          body: {
            metadata: { name: `${ground.prefix}-wider` },
            roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: role },
            subjects: [
              { kind: "ServiceAccount", name: account, namespace: `${ground.prefix}-system` },
            ],
          },
        });
      await expect(bind(`${ground.prefix}-t-acme`, "cluster-admin")).rejects.toMatchObject({
        code: 403,
      });
      if (!ground.cluster.isReal) return;
      // The API server takes a moment to know of a policy.
      await vi.waitFor(
        () => expect(bind("default", workersRole)).rejects.toThrow(/makes and uses no namespaces/),
        { timeout: 60_000, interval: 500 },
      );
    });
  });
}

/** Everything under a name of this run, but the role that servers know by its name: that one stays if it was there. */
async function install(
  ground: Ground,
  env: Record<string, string>,
  parts: AsyncDisposableStack,
): Promise<void> {
  const config = new KubeConfig();
  config.loadFromFile(ground.cluster.kubeconfig);
  const api = KubernetesObjectApi.makeApiClient(config);
  const { objects } = manifestsOf(env, {
    namespace: env["HODEI_K8S_NAMESPACE"] ?? "",
    serverNamespace: env["HODEI_K8S_CONTROL_NAMESPACE"] ?? "",
    tenantNamespaces: true,
    only: ["rbac"],
  });
  for (const object of objects as KubernetesObject[]) {
    const { kind = "", metadata } = object;
    // The double admits whatever RBAC lets through.
    if (kind.startsWith("Validating") && !ground.cluster.isReal) continue;
    const isOurs = metadata?.namespace !== undefined;
    const own = isOurs ? object : renamed(object, ground.prefix);
    const isThere = await api.read(headerOf(own)).then(
      () => true,
      () => false,
    );
    if (isThere) continue;
    await api.create(own);
    if (!isOurs) parts.defer(async () => void (await api.delete(own)));
  }
}

type Header = Parameters<KubernetesObjectApi["read"]>[0];

function headerOf({ apiVersion = "", kind = "", metadata }: KubernetesObject): Header {
  const { name = "", namespace } = metadata ?? {};
  return { apiVersion, kind, metadata: { name, ...(namespace !== undefined && { namespace }) } };
}

function renamed(object: KubernetesObject, prefix: string): KubernetesObject {
  if (object.kind === "ClusterRole" && object.metadata?.name === workersRole) return object;
  const text = JSON.stringify(object)
    .replaceAll(`"name":"${account}"`, `"name":"${prefix}-control"`)
    .replaceAll(`"policyName":"${account}"`, `"policyName":"${prefix}-control"`)
    // The account keeps its name.
    .replaceAll(
      `"kind":"ServiceAccount","name":"${prefix}-control"`,
      `"kind":"ServiceAccount","name":"${account}"`,
    );
  return JSON.parse(text) as KubernetesObject;
}

/** A kubeconfig of the server's account. */
async function signIn(ground: Ground, namespace: string): Promise<KubeConfig> {
  const { status } = await ground.core.createNamespacedServiceAccountToken({
    name: account,
    namespace,
    body: { spec: { audiences: [], expirationSeconds: 7_200 } },
  });
  const config = new KubeConfig();
  config.loadFromFile(ground.cluster.kubeconfig);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error("the kubeconfig names no cluster");
  config.loadFromOptions({
    clusters: [cluster],
    users: [{ name: account, token: status?.token ?? "" }],
    contexts: [{ name: account, user: account, cluster: cluster.name }],
    currentContext: account,
  });
  return config;
}
