import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Cluster, startCluster } from "../../test/fake/kubernetes/cluster.ts";

/** The double of a cluster, whose kubelet runs containers as processes of this machine. */
export const calls = { start, stop };

let cluster: Cluster | undefined;
let folder: string | undefined;

/** Gives the kubeconfig. */
async function start(): Promise<string> {
  folder = await mkdtemp(join(tmpdir(), "hodei-bench-cluster-"));
  cluster = await startCluster({ runsAs: "self" });
  const kubeconfig = join(folder, "config");
  await cluster.api.writeKubeconfig(kubeconfig);
  return kubeconfig;
}

async function stop(): Promise<void> {
  await cluster?.[Symbol.asyncDispose]();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
}
