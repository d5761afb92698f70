import { KubeConfig, KubernetesObjectApi, type KubernetesObject } from "@kubernetes/client-node";
import { execFile } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { launcher } from "../../e2e/server-process.ts";
import { type Cluster, Ground, hookMs, openMs, type Running, testMs } from "./ground.ts";

/** What an operator does beside running a server. */
export function operatorSuite(
  name: string,
  open: () => Promise<Cluster>,
  { isReal }: { readonly isReal: boolean },
): void {
  describe(`an operator of ${name}`, { timeout: testMs }, () => {
    let ground: Ground;
    let hodei: Running;

    beforeAll(async () => {
      ground = new Ground(await open());
      hodei = await ground.start();
    }, openMs);
    afterAll(() => ground[Symbol.asyncDispose](), hookMs);

    test("finds nothing that fails with `hodei doctor`", async () => {
      // An address of this machine alone would be a finding of its own.
      const address = { HODEI_SERVER_ADDRESS: `192.0.2.10:${hodei.server.port}` };
      const { code, stdout } = await cli(hodei, ["doctor", "-o", "json"], address);
      const { checks } = JSON.parse(stdout) as { readonly checks: readonly { ok: string }[] };
      expect(checks.filter(({ ok }) => ok === "fail")).toEqual([]);
      expect(checks.length).toBeGreaterThan(5);
      expect(code).toBe(0);
    });

    const wishes = [
      ["standard", []],
      ["legacy", []],
      // The double has no policies of admission and no autoscalers.
      ...(isReal
        ? [["standard", ["--tenant-namespaces", "--store", "redis", "--hpa"]] as const]
        : []),
    ] as const;
    test.for(wishes)(
      "prints %s manifests with %j that the API server takes",
      async ([profile, more]) => {
        const server = `${hodei.namespace}-system`;
        const workers = `${hodei.namespace}-${profile}`;
        for (const namespace of [server, workers]) await makeNamespace(ground, namespace);
        const names = ["--namespace", workers, "--server-namespace", server];
        const wish = ["manifests", "--profile", profile, "-o", "json", ...names, ...more];
        const { code, stdout } = await cli(hodei, wish, {});
        expect(code).toBe(0);
        const { objects } = JSON.parse(stdout) as { readonly objects: readonly KubernetesObject[] };
        const kinds = new Set(objects.map(({ kind }) => kind));
        expect([...kinds]).toEqual(
          expect.arrayContaining(["Deployment", "ClusterRole", "NetworkPolicy", "Role"]),
        );
        const api = clientOf(ground);
        for (const object of objects.filter(isBuiltIn)) await api.patch(...applied(object));
      },
    );
  });
}

/** Those of monitoring are an operator's of its own. */
function isBuiltIn({ apiVersion = "" }: KubernetesObject): boolean {
  return !apiVersion.startsWith("monitoring.coreos.com/");
}

type Applied = Parameters<KubernetesObjectApi["patch"]>;

function applied(object: KubernetesObject): Applied {
  const strategy = "application/apply-patch+yaml" as Applied[5];
  return [object, undefined, "All", "hodei-e2e", true, strategy];
}

function clientOf(ground: Ground): KubernetesObjectApi {
  const config = new KubeConfig();
  config.loadFromFile(ground.cluster.kubeconfig);
  return KubernetesObjectApi.makeApiClient(config);
}

async function makeNamespace(ground: Ground, name: string): Promise<void> {
  const { items } = await ground.core.listNamespace();
  if (items.some(({ metadata }) => metadata?.name === name)) return;
  await ground.core.createNamespace({ body: { metadata: { name } } });
}

interface Ended {
  readonly code: number;
  readonly stdout: string;
}

/** Runs `hodei` with the settings of the server. */
async function cli(
  { server }: Running,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { env: { ...server.env, ...env }, maxBuffer: 16 * 1024 * 1024 };
    execFile(process.execPath, [launcher, ...args], options, (error, stdout) => {
      resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout });
    });
  });
}
