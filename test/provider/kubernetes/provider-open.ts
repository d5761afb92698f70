import { onTestFinished } from "vitest";
import { type WorkerId, workerIdOf } from "#job/id.ts";
import { podNameOf } from "#provider/kubernetes/names.ts";
import type { Provider, WorkerSpec } from "#provider/provider.ts";
import { place, workerSpec } from "./pod-specs.ts";
import { type ProviderCluster, startProviderCluster } from "./provider-cluster.ts";

let counter = 1;
export const never = new AbortController().signal;

/** A cluster and a provider on it, until the test is over. */
export async function open(
  ...how: Parameters<ProviderCluster["open"]>
): Promise<{ cluster: ProviderCluster; provider: Provider }> {
  const cluster = await startProviderCluster();
  const provider = await cluster.open(...how);
  onTestFinished(async () => {
    cluster.intercept = () => false;
    await provider[Symbol.asyncDispose]();
    await cluster[Symbol.asyncDispose]();
  });
  return { cluster, provider };
}

export function newSpec(change: Partial<WorkerSpec> = {}): WorkerSpec {
  return workerSpec({ workerId: workerIdOf(counter++), ...change });
}

export function names(map: ReadonlyMap<string, unknown>): string[] {
  return [...map.keys()];
}

/** The key of a worker's pod and Secret in the cluster. */
export function at(id: WorkerId): string {
  return `${place.namespace}/${podNameOf(id)}`;
}
