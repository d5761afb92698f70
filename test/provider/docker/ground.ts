import { randomBytes } from "node:crypto";
import Docker from "dockerode";
import type { WorkerId } from "#job/id.ts";
import { type DockerConfig, defaultDockerConfig } from "#provider/docker/config.ts";
import { openDockerProvider } from "#provider/docker/docker-provider.ts";
import { containerNameOf, keys } from "#provider/docker/names.ts";
import { plainOf } from "#provider/docker/tail.ts";
import type { Provider } from "#provider/provider.ts";
import type { ProviderGround, WorkerReport } from "../../conformance/provider.ts";
import { testAgentImage } from "../../fake/docker-image.ts";

export interface DockerGround extends ProviderGround {
  readonly docker: Docker;
  readonly image: string;
  /** As `open`, with another configuration or way than those of the suite. */
  openWith(config: Partial<DockerConfig>, way?: string): Promise<Provider>;
}

/** An instance of its own on the engine of this machine. */
export async function prepareDocker(): Promise<DockerGround> {
  const image = await testAgentImage();
  const docker = new Docker();
  const ground = `test-${randomBytes(6).toString("hex")}`;
  const env = { PLAIN: "1", AWKWARD: 'a=b\n"quoted" $HOME ünï\\', EMPTY: "" };
  const openWith = (config: Partial<DockerConfig>, way = "wait", instanceId = "instance") =>
    openDockerProvider({
      name: "docker",
      instanceId: `${ground}-${instanceId}`,
      config: {
        ...defaultDockerConfig,
        image,
        pullPolicy: "never",
        network: "hodei-test",
        // The suite gives an address that it wants to see again.
        serverAddress: "127.0.0.1:1",
        defaultMemoryBytes: 64 * 2 ** 20,
        ...config,
      },
      env: { ...env, TEST_WAY: way },
    });
  const containerOf = (id: WorkerId) => docker.getContainer(containerNameOf(id));
  return {
    env,
    docker,
    image,
    open: ({ instanceId, way }) => openWith({}, way, instanceId),
    openWith,
    async report(id) {
      const logs = await containerOf(id).logs({ stdout: true, stderr: true, follow: false });
      const line = plainOf(logs).toString().split("\n")[0] ?? "";
      if (!line.startsWith("REPORT ")) return undefined;
      return JSON.parse(line.slice("REPORT ".length)) as WorkerReport;
    },
    async remains(id) {
      try {
        const { Processes: rows } = (await containerOf(id).top()) as { Processes: string[][] };
        return rows.map((row) => row.at(-1) ?? "");
      } catch {
        return [];
      }
    },
    async kill(id) {
      await containerOf(id).kill({ signal: "SIGKILL" });
    },
    async [Symbol.asyncDispose]() {
      const label = [`${keys.managed}=true`];
      const left = await docker.listContainers({ all: true, filters: { label } });
      const own = left.filter(({ Labels: labels }) => labels[keys.instance]?.startsWith(ground));
      await Promise.all(own.map(({ Id: id }) => docker.getContainer(id).remove({ force: true })));
    },
  };
}
