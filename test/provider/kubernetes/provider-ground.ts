import { randomBytes } from "node:crypto";
import type { WorkerId } from "#job/id.ts";
import { findMarked, readProcess, signalTo } from "#processes.ts";
import { type KubernetesConfig, defaultKubernetesConfig } from "#provider/kubernetes/config.ts";
import { openConnection } from "#provider/kubernetes/connection.ts";
import { openKubernetesProvider } from "#provider/kubernetes/kubernetes-provider.ts";
import { podNameOf } from "#provider/kubernetes/names.ts";
import { PodApi } from "#provider/kubernetes/pod-api.ts";
import { isOver } from "#provider/kubernetes/pod-state.ts";
import { readPodTail } from "#provider/kubernetes/tail.ts";
import type { ProviderGround, WorkerReport } from "../../conformance/provider.ts";
import { silent } from "./ground-server.ts";
import { reportMark, standInOptions } from "./stand-in.ts";

interface Report extends WorkerReport {
  readonly jobPid: number | undefined;
}

/**
 * Any cluster as the ground of the suite, in a namespace of its own that is removed at the end. Workers are killed as processes, so its node
 * has to be this machine.
 */
export async function kubernetesGround(cluster: {
  readonly config: Partial<KubernetesConfig>;
  readonly removesNamespace: boolean;
}): Promise<ProviderGround> {
  const namespace = `hodei-conformance-${randomBytes(4).toString("hex")}`;
  const config: KubernetesConfig = {
    ...defaultKubernetesConfig,
    namespace,
    defaultCpuRequest: "10m",
    defaultMemoryRequest: "64Mi",
    ...cluster.config,
  };
  const connection = await openConnection(config, { log: silent });
  const api = new PodApi(connection);
  const env = {
    PLAIN: "1",
    AWKWARD: 'a=b\n"quoted" $HOME $(HOME) $$ ünï\\',
    EMPTY: "",
    NODE_OPTIONS: standInOptions(),
  };
  const read = async (id: WorkerId): Promise<Report | undefined> => {
    const tail = await readPodTail(connection, { namespace, name: podNameOf(id) });
    const lines = new TextDecoder().decode(tail).split("\n");
    const line = lines.find((each) => each.startsWith(reportMark));
    return line === undefined ? undefined : (JSON.parse(line.slice(reportMark.length)) as Report);
  };
  const processesOf = (id: WorkerId): number[] => {
    const mark = `HODEI_WORKER_ID=${id}`;
    const found = findMarked([mark]).get(mark) ?? [];
    return found.filter((pid) => readProcess(pid)?.isZombie === false);
  };
  return {
    env,
    open: ({ instanceId = "instance", way = "wait" }) =>
      openKubernetesProvider({
        name: "kubernetes",
        config,
        instanceId,
        log: silent,
        env: { ...env, TEST_WAY: way },
      }),
    report: read,
    async remains(id) {
      const pod = await api.findPod(namespace, podNameOf(id));
      const isLeft = pod !== undefined && !isOver(pod);
      return [...(isLeft ? [podNameOf(id)] : []), ...processesOf(id).map(String)];
    },
    async kill(id) {
      const [first] = processesOf(id).toSorted((one, other) => one - other);
      if (first === undefined) throw new Error(`no process of ${id} runs on this machine`);
      signalTo(first, "SIGKILL");
    },
    async [Symbol.asyncDispose]() {
      if (cluster.removesNamespace) {
        await connection.request({ method: "DELETE", path: `/api/v1/namespaces/${namespace}` });
      }
      await connection[Symbol.asyncDispose]();
    },
  };
}
