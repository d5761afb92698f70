import { randomBytes } from "node:crypto";
import Docker from "dockerode";
import { engineHost } from "#provider/docker/container.ts";
import { keys } from "#provider/docker/names.ts";
import { workerImage } from "../../fake/docker-image.ts";
import { ServerProcess } from "../../e2e/server-process.ts";
import { killSuite } from "./suite.ts";

killSuite("a Docker engine", async () => {
  const image = await workerImage();
  const docker = new Docker();
  const prefix = `test-${randomBytes(6).toString("hex")}`;
  let servers = 0;
  const instances = new Map<unknown, string>();
  const containersOf = async (instance: string) => {
    const label = [`${keys.instance}=${instance}`];
    return docker.listContainers({ all: true, filters: { label } });
  };
  return {
    provider: "docker",
    host: engineHost,
    calls: [/^POST \S*\/containers\/create/, /^POST .*\/attach/, /^POST .*\/start/, /^DELETE /],
    async start({ env, nodeArguments }) {
      const instance = `${prefix}-${++servers}`;
      const variables = (port: number) => ({
        HODEI_LISTEN_ADDRESS: `0.0.0.0:${port}`,
        HODEI_SERVER_ADDRESS: `${engineHost}:${port}`,
        HODEI_TLS_AUTO: "1",
        HODEI_TLS_AUTO_NAMES: engineHost,
        HODEI_ADMIN_TOKEN: "admin-of-the-end-to-end-tests",
        HODEI_PROCESS_ENABLED: "0",
        HODEI_DOCKER_ENABLED: "1",
        HODEI_DOCKER_INSTANCE_ID: instance,
        HODEI_DOCKER_NETWORK: "hodei-test",
        HODEI_DOCKER_PULL_POLICY: "never",
        HODEI_WORKER_IMAGE: image,
        // Containers are slower than processes.
        HODEI_RENEW_INTERVAL_MS: "1000",
        HODEI_SUSPECT_AFTER_MS: "5000",
        HODEI_DISCONNECT_GRACE_MS: "1000",
        ...env,
      });
      const server = await ServerProcess.start(variables, nodeArguments);
      instances.set(server, instance);
      return server;
    },
    leftovers: async (server) => {
      const left = await containersOf(instances.get(server) ?? "");
      return left.map(({ Names: names, State: state }) => `${names.join(" ")} ${state}`);
    },
    async [Symbol.asyncDispose]() {
      const left = (await Promise.all([...instances.values()].map(containersOf))).flat();
      await Promise.all(left.map(({ Id: id }) => docker.getContainer(id).remove({ force: true })));
    },
  };
});
