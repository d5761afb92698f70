import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { providerConformance } from "../../conformance/provider.ts";
import { startCluster } from "../../fake/kubernetes/cluster.ts";
import { kubernetesGround } from "./provider-ground.ts";

providerConformance("kubernetes (double)", async () => {
  await using parts = new AsyncDisposableStack(); // Undoes a start that fails halfway.
  const directory = mkdtempSync(join(tmpdir(), "hodei-conformance-"));
  parts.defer(() => rmSync(directory, { recursive: true, force: true }));
  const { api } = parts.use(await startCluster({ runsAs: "self" }));
  const kubeconfigPath = await api.writeKubeconfig(join(directory, "config"));
  const ground = parts.use(
    await kubernetesGround({ config: { kubeconfigPath }, removesNamespace: false }),
  );
  const owned = parts.move();
  return { ...ground, [Symbol.asyncDispose]: () => owned.disposeAsync() };
});
