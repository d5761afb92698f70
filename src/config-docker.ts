import { z } from "zod";
import { addresses, choice, flag, json, text, whole } from "./setting.ts";

// The settings of the Docker provider. The image is HODEI_WORKER_IMAGE, the same as that of pods.

const mebibyte = 1024 * 1024;
const most = 2 ** 50;

export const dockerShape = {
  dockerEnabled: flag(false, "Whether workers may be containers of a Docker engine"),
  dockerHost: text(
    "",
    "The engine, `unix:///path` or `tcp://host:port`; empty: the socket of this machine. DOCKER_HOST sets it too",
  ),
  dockerCertDirectory: text(
    "",
    "Folder with `ca.pem`, `cert.pem` and `key.pem` for an engine behind TLS. DOCKER_CERT_PATH sets it too",
  ),
  dockerInstanceId: text(
    "",
    "Whose containers these are, where servers share an engine; empty: the server's own id",
  ),
  dockerNetwork: network(
    "hodei-jobs-workers",
    "Bridge network of workers; made where it is missing, so that they cannot reach each other",
  ),
  dockerServerAddress: addresses(
    "What agents in containers dial, as `HODEI_SERVER_ADDRESS`; empty: the server's address, where it is loopback by the name host.docker.internal",
  ),
  dockerPullPolicy: choice(
    { values: ["never", "if_missing", "always"], standard: "if_missing" },
    "When the engine pulls an image",
  ),
  dockerRegistryConfigFile: text(
    "",
    "File with credentials of registries, as `docker login` writes it; empty: none",
  ),
  dockerMaxWorkers: whole(
    { least: 0, most: 10_000, standard: 10 },
    "Most containers at the same time; 0: as many as the engine's memory has room for",
  ),
  dockerDefaultCpuMillis: whole(
    { least: 0, most: 1_000_000, standard: 2_000 },
    "CPU limit of a container whose job wishes none; 0: none",
  ),
  dockerDefaultMemoryBytes: whole(
    { least: 0, most, standard: 2_048 * mebibyte },
    "Memory of a container whose job wishes none; 0: no limit",
  ),
  dockerAgentMemoryBytes: whole(
    { least: 32 * mebibyte, most, standard: 128 * mebibyte },
    "Memory that a container gets for its agent, beside the job's own",
  ),
  dockerScratchBytes: whole(
    { least: mebibyte, most, standard: 1_024 * mebibyte },
    "Space of /tmp and of the work directory, each; it counts as memory of the container",
  ),
  dockerPidsLimit: whole(
    { least: 32, most: 4_194_304, standard: 1_024 },
    "Most processes and threads of a container",
  ),
  dockerGpus: whole(
    { least: 0, most: 1_000, standard: 0 },
    "GPUs that a job may ask for; the engine needs the vendor's runtime",
  ),
  dockerGpuType: text("", "Model of these GPUs; empty: whatever a job asks for"),
  dockerRuntime: text("", "OCI runtime of containers, such as `runsc`; empty: the engine's own"),
  dockerPricePerHour: json(
    z.strictObject({
      cpuCore: z.number().min(0).default(0),
      memoryGib: z.number().min(0).default(0),
      gpu: z.number().min(0).default(0),
    }),
    { cpuCore: 0, memoryGib: 0, gpu: 0 },
    'Cost of an hour: `{"cpuCore": 0.04, "memoryGib": 0.005, "gpu": 1}`',
  ),
};

/** On the network of the host or of another container a worker would not be alone. */
function network(standard: string, description: string) {
  return z
    .string()
    .transform((value) => value.trim())
    .refine((value) => /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/.test(value), {
      error: "is not the name of a network",
    })
    .refine((value) => !["host", "none", "bridge", "default"].includes(value), {
      error: "has to be a network of its own",
    })
    .default(standard)
    .describe(description);
}
