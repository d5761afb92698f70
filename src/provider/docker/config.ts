/** When an image is fetched: never, where the engine lacks it, or before every start. */
export const pullPolicies = ["never", "if_missing", "always"] as const;
export type PullPolicy = (typeof pullPolicies)[number];

/** Cost of an hour of one unit, in units of the operator's choice. */
export interface HourlyPrice {
  readonly cpuCore: number;
  readonly memoryGib: number;
  readonly gpu: number;
}

export interface Certificates {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface DockerConfig {
  /** `unix:///path`, `tcp://host:port`, `npipe:////./pipe/name`; empty: this machine's own engine. */
  readonly host: string;
  /** A folder with `ca.pem`, `cert.pem` and `key.pem`; empty: no TLS. */
  readonly certDirectory: string;
  /** PEM, instead of that folder. */
  readonly certificates?: Certificates;
  /** A bridge that is made when it is missing, on which containers cannot reach each other. */
  readonly network: string;
  /** What containers dial instead of the server's own address, `host:port`; empty: that one, and the engine's host where it is a loopback address. */
  readonly serverAddress: string;

  /** For jobs that name none. */
  readonly image: string;
  readonly pullPolicy: PullPolicy;
  /** A file as `docker login` writes it, with passwords of registries in it; empty: none. */
  readonly registryConfigFile: string;

  /** Zero: as many as the engine's memory has room for. */
  readonly maxWorkers: number;
  /** Limits of a worker whose job wishes nothing; zero: none. */
  readonly defaultCpuMillis: number;
  readonly defaultMemoryBytes: number;
  /** What the agent gets beside the job's own memory. */
  readonly agentMemoryBytes: number;
  /** Space of the work directory and of /tmp, each. It lies in memory, and counts as the container's. */
  readonly scratchBytes: number;
  readonly pidsLimit: number;

  /** How many GPUs jobs may ask for, through the engine's device requests. */
  readonly gpus: number;
  /** Their model; empty: any that a job may ask for. */
  readonly gpuType: string;
  /** Another OCI runtime than the engine's own, such as `runsc`; empty: the engine's own. */
  readonly runtime: string;
  readonly price: HourlyPrice;
}

const mib = 2 ** 20;

export const defaultDockerConfig: DockerConfig = {
  host: "",
  certDirectory: "",
  network: "hodei-jobs-workers",
  serverAddress: "",
  image: "hodei-jobs-worker:latest",
  pullPolicy: "if_missing",
  registryConfigFile: "",
  maxWorkers: 10,
  defaultCpuMillis: 2_000,
  defaultMemoryBytes: 2_048 * mib,
  agentMemoryBytes: 128 * mib,
  scratchBytes: 1_024 * mib,
  pidsLimit: 1_024,
  gpus: 0,
  gpuType: "",
  runtime: "",
  price: { cpuCore: 0, memoryGib: 0, gpu: 0 },
};
