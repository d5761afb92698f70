import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startCluster } from "../../fake/kubernetes/cluster.ts";
import type { Cluster } from "./ground.ts";

/** An API server, a scheduler, controllers and a kubelet of our own, whose pods are processes of this machine. */
export async function openDouble(): Promise<Cluster> {
  const directory = mkdtempSync(join(tmpdir(), "hodei-double-"));
  const cluster = await startCluster();
  const kubeconfig = join(directory, "config");
  await cluster.api.writeKubeconfig(kubeconfig);
  return {
    kubeconfig,
    image: "hodei-jobs-worker:latest",
    serverHost: "127.0.0.1",
    isReal: false,
    changes: () =>
      cluster.api.knobs.calls.flatMap(({ verb, resource }) =>
        verb !== "list" && /^(pods|secrets|tokenreviews)$/.test(resource)
          ? [`${verb} ${resource}`]
          : [],
      ),
    async [Symbol.asyncDispose]() {
      await cluster[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
