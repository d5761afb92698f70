import type { Config } from "#config.ts";
import {
  type Certificates,
  defaultDockerConfig,
  type DockerConfig,
} from "#provider/docker/config.ts";
import type { Provider } from "#provider/provider.ts";
import type { Logger } from "#telemetry.ts";

/** What only an engine needs is only loaded where there is one. Error: `invalid_argument` for an address or certificates that are none. */
export async function openDocker(
  config: Config,
  {
    name,
    instance,
    log,
    certificates,
  }: {
    readonly name: string;
    readonly instance: string;
    readonly log: Logger;
    readonly certificates: Certificates | undefined;
  },
): Promise<Provider> {
  const { openDockerProvider } = await import("#provider/docker/docker-provider.ts");
  return openDockerProvider({
    name,
    instanceId: config.dockerInstanceId === "" ? instance : config.dockerInstanceId,
    config: {
      ...dockerConfigOf(config),
      ...(certificates === undefined ? {} : { certificates, certDirectory: "" }),
    },
    env: { HODEI_LOG_LEVEL: config.logLevel },
    log,
  });
}

export function dockerConfigOf(config: Config): DockerConfig {
  return {
    host: config.dockerHost,
    certDirectory: config.dockerCertDirectory,
    network: config.dockerNetwork,
    serverAddress: config.dockerServerAddress,
    image: config.workerImage === "" ? defaultDockerConfig.image : config.workerImage,
    pullPolicy: config.dockerPullPolicy,
    registryConfigFile: config.dockerRegistryConfigFile,
    maxWorkers: config.dockerMaxWorkers,
    defaultCpuMillis: config.dockerDefaultCpuMillis,
    defaultMemoryBytes: config.dockerDefaultMemoryBytes,
    agentMemoryBytes: config.dockerAgentMemoryBytes,
    scratchBytes: config.dockerScratchBytes,
    pidsLimit: config.dockerPidsLimit,
    gpus: config.dockerGpus,
    gpuType: config.dockerGpuType,
    runtime: config.dockerRuntime,
    price: config.dockerPricePerHour,
  };
}
