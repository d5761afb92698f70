import type { ContainerCreateOptions, HostConfig } from "dockerode";
import type { Resources } from "#job/job.ts";
import type { WorkerSpec } from "#provider/provider.ts";
import type { DockerConfig } from "./config.ts";
import { keys, labelsOfJob, managedLabels, type Ownership } from "./names.ts";

/** By this name a container reaches the machine that its engine runs on. */
export const engineHost = "host.docker.internal";
const workDirectory = "/home/hodei";
const user = 1_000;
/** How much later than a server a container ends itself. */
const lifetimeSlackMs = 10_000;

/** What the engine has, as far as it matters for a container. */
export interface EngineSize {
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** How a container is made. */
export interface Making {
  readonly config: DockerConfig;
  readonly ownership: Ownership;
  /** Undefined while the engine has not been asked. */
  readonly engine: EngineSize | undefined;
  /** More variables for the agent. */
  readonly env: Readonly<Record<string, string>>;
}

/** A worker's container: no privileges, nothing writable but memory, limits on everything, and no secret in what inspecting it shows. */
export function containerOf(making: Making, spec: WorkerSpec): ContainerCreateOptions {
  const { config, ownership } = making;
  return {
    Image: imageOf(config, spec),
    User: `${user}:${user}`,
    Env: envOf(making, spec),
    Labels: { ...labelsOfJob(spec.labels, spec.annotations), ...labelsOf(ownership, spec) },
    // The one-time token comes as a line of input, and then the input is closed.
    OpenStdin: true,
    StdinOnce: true,
    AttachStdin: true,
    AttachStdout: false,
    AttachStderr: false,
    Tty: false,
    WorkingDir: workDirectory,
    HostConfig: hostConfigOf(making, spec.workerClass.resources),
  };
}

export function imageOf(config: DockerConfig, spec: WorkerSpec): string {
  return spec.workerClass.image === "" ? config.image : spec.workerClass.image;
}

/** What agents in containers dial. Loopback is a container's own, so it becomes the host of the engine. */
export function dialledBy(config: DockerConfig, serverAddress: string): string {
  if (config.serverAddress !== "") return config.serverAddress;
  const loopback = /(?<=^|,\s*)(?:127\.\d+\.\d+\.\d+|localhost|\[::1\]):/g;
  return serverAddress.replace(loopback, `${engineHost}:`);
}

/** What the container may use: the job's share and the agent's. Zero: no limit. */
export function limitsOf(
  { config, engine }: Pick<Making, "config" | "engine">,
  { cpuMillis, memoryBytes, diskBytes }: Resources,
): { readonly cpuMillis: number; readonly memoryBytes: number } {
  const { cpus = Infinity, memoryBytes: whole = Infinity } = engine ?? {};
  const room = Math.max(0, whole - config.agentMemoryBytes - diskBytes);
  const memory = memoryBytes || Math.min(config.defaultMemoryBytes, room);
  return {
    // A default is never more than the engine has.
    cpuMillis: cpuMillis || Math.min(config.defaultCpuMillis, cpus * 1_000),
    // Disk that a job asked for lies in memory, and must not be taken from what it asked for beside it.
    memoryBytes: memory === 0 ? 0 : memory + diskBytes + config.agentMemoryBytes,
  };
}

function hostConfigOf(making: Making, resources: Resources): HostConfig {
  const { config } = making;
  const limits = limitsOf(making, resources);
  const { gpuCount } = resources;
  return {
    // tini is process 1: passes signals on and reaps what jobs leave behind.
    Init: true,
    ReadonlyRootfs: true,
    Tmpfs: {
      "/tmp": tmpfs(config.scratchBytes, "mode=1777"),
      [workDirectory]: tmpfs(
        resources.diskBytes || config.scratchBytes,
        `mode=0750,uid=${user},gid=${user}`,
      ),
    },
    Privileged: false,
    CapDrop: ["ALL"],
    SecurityOpt: ["no-new-privileges:true"],
    IpcMode: "private",
    PidsLimit: config.pidsLimit,
    Memory: limits.memoryBytes,
    // The same: no swap.
    MemorySwap: limits.memoryBytes,
    NanoCpus: limits.cpuMillis * 1_000_000,
    NetworkMode: config.network,
    ExtraHosts: [`${engineHost}:host-gateway`],
    RestartPolicy: { Name: "no" },
    AutoRemove: false,
    LogConfig: { Type: "json-file", Config: { "max-size": "512k", "max-file": "2" } },
    ...(config.runtime === "" ? {} : { Runtime: config.runtime }),
    ...(gpuCount === 0
      ? {}
      : { DeviceRequests: [{ Driver: "", Count: gpuCount, Capabilities: [["gpu"]] }] }),
  };
}

/** Jobs run programs that they have made or unpacked there, so it is not `noexec`. */
function tmpfs(bytes: number, more: string): string {
  return `rw,exec,nosuid,nodev,size=${bytes},${more}`;
}

function envOf({ config, env }: Making, spec: WorkerSpec): string[] {
  const all: Record<string, string> = {
    HOME: workDirectory,
    ...env,
    HODEI_WORKER_ID: spec.workerId,
    HODEI_SERVER_ADDRESS: dialledBy(config, spec.serverAddress),
    HODEI_OTP_FD: "0",
    HODEI_AGENT_WORK_DIR: workDirectory,
    HODEI_AGENT_SLOTS: String(spec.slots),
    HODEI_DISCONNECT_TOLERANCE_MS: String(spec.disconnectToleranceMs),
    ...(spec.maxLifetimeMs === undefined ? {} : lifetimeOf(spec.maxLifetimeMs)),
    // A certificate is no secret, and nothing can be copied into a container with a read-only root.
    ...(spec.serverCa === undefined ? {} : { HODEI_CA_CERT: spec.serverCa }),
  };
  return Object.entries(all).map(([name, value]) => `${name}=${value}`);
}

/** While a server runs it removes the container at its time; this ends it where none does. */
function lifetimeOf(maxLifetimeMs: number): Record<string, string> {
  const seconds = Math.ceil((maxLifetimeMs + lifetimeSlackMs) / 1_000);
  return { HODEI_MAX_LIFETIME_SECONDS: String(seconds) };
}

function labelsOf(ownership: Ownership, spec: WorkerSpec): Record<string, string> {
  const { workerId, tenant, maxLifetimeMs } = spec;
  const { image } = spec.workerClass;
  return {
    ...managedLabels(ownership),
    [keys.workerId]: workerId,
    ...(tenant === undefined ? {} : { [keys.tenantId]: tenant }),
    ...(image === "" ? {} : { [keys.jobImage]: image }),
    ...(maxLifetimeMs === undefined ? {} : { [keys.maxLifetimeMs]: String(maxLifetimeMs) }),
  };
}
