import { agentImage, agentImageName } from "./kubelet-images.ts";
import { startKubernetes, type KubernetesDouble, type KubernetesOptions } from "./kubernetes.ts";
import { Machines, type MachineOptions } from "./machines.ts";
import type { Objects } from "./objects.ts";

export interface ClusterOptions
  extends
    Omit<KubernetesOptions, "controllers">,
    Omit<MachineOptions, "objects" | "issueToken" | "rootCa"> {}

/**
 * A whole cluster in this process: the API on a port, scheduler, controllers, and kubelets that
 * run containers as processes. The product's agent is there as the image `hodei-jobs-worker:latest`.
 *
 * What it has not: root file systems (paths of mounts are rewritten in variables and arguments,
 * see `translate`), networks, pid namespaces, read-only mounts, probes and hooks.
 */
export interface Cluster extends AsyncDisposable {
  readonly api: KubernetesDouble;
  readonly machines: Machines;
  readonly objects: Objects;
}

export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  await using parts = new AsyncDisposableStack(); // Undoes a start that fails halfway.
  const api = parts.use(await startKubernetes({ ...options, controllers: false }));
  const machines = parts.use(
    new Machines({
      ...options,
      images: { [agentImageName]: agentImage(), ...options.images },
      objects: api.objects,
      issueToken: (request) => api.tokens.issue(request),
      ...(api.ca === undefined ? {} : { rootCa: api.ca }),
    }),
  );
  api.readLogsFrom((...read) => machines.readLog(...read));
  const owned = parts.move();
  return {
    api,
    machines,
    objects: api.objects,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
