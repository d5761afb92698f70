import { constants } from "node:fs";
import { access, mkdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Failure } from "#job/failure.ts";
import type { WorkerId } from "#job/id.ts";
import {
  type Capacity,
  type Health,
  type ListedWorker,
  type Provider,
  type ProviderCapabilities,
  type ProviderEvent,
  StartError,
  type StartedWorker,
  type WorkerSpec,
} from "#provider/provider.ts";
import type { Logger } from "#telemetry.ts";
import type { WorkerClass } from "#worker/class.ts";
import { boundsOf, dataBytesOf, machineOf, refusalBy, type Machine } from "./bounds.ts";
import { type ControlGroups, findControlGroups, type GroupUse } from "./control-groups.ts";
import { EventFeed } from "./event-feed.ts";
import { HelperClient, HelperRefusal } from "./helper-client.ts";
import type { GoneWorker, ListedEntry } from "./protocol.ts";

const leastFreeBytes = 100 * 1024 * 1024;
/** From the start of the process to its redeemed token, until more is known. */
const priorStartMs = 500;
const learningRate = 0.2;

export interface ProcessProviderOptions {
  readonly name: string;
  /** Where it keeps what it knows of its workers; one server's workers are apart from another's. */
  readonly directory: string;
  /** How an agent is started, program first. */
  readonly agentCommand: readonly string[];
  readonly maxWorkers: number;
  /** Whose workers these are; stays the same when the server restarts. */
  readonly instanceId: string;
  /** What agents get of the server's environment, and nothing else. */
  readonly env: Readonly<Record<string, string>>;
  /** Below which control groups workers may get theirs; `auto` unless said otherwise. */
  readonly controlGroups?: GroupUse;
  readonly log?: Logger;
}

/** Runs workers as processes of this machine, bounded where the machine lets us. They outlive the server. */
export async function openProcessProvider(options: ProcessProviderOptions): Promise<Provider> {
  const directory = join(options.directory, encodeURIComponent(options.instanceId));
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const groups = findControlGroups(options.controlGroups ?? "auto");
  const machine = await machineOf(directory);
  const limits = { memory: groups.has("memory"), cpu: groups.has("cpu") };
  options.log?.info({ provider: options.name, ...limits }, "limits of worker processes");
  return new ProcessProvider(options, directory, { groups, machine });
}

interface Ground {
  readonly groups: ControlGroups;
  readonly machine: Machine;
}

class ProcessProvider implements Provider {
  readonly name: string;
  readonly type = "process";
  readonly capabilities: ProviderCapabilities;
  readonly #options: ProcessProviderOptions;
  readonly #directory: string;
  readonly #feed = new EventFeed<ProviderEvent>();
  readonly #helper: HelperClient;
  readonly #ground: Ground;
  #spawnMs = 0;

  constructor(options: ProcessProviderOptions, directory: string, ground: Ground) {
    this.name = options.name;
    this.#ground = ground;
    this.capabilities = {
      survivesRestart: true,
      memoryLimit: ground.groups.has("memory"),
      cpuLimit: ground.groups.has("cpu"),
      images: false,
      gpu: false,
      bindsTenant: false,
      bindsJob: false,
    };
    this.#options = options;
    this.#directory = directory;
    this.#helper = new HelperClient(directory, {
      onGone: (worker) => this.#noteGone(worker),
      onLost: (pauseMs) =>
        options.log?.warn({ provider: options.name, pauseMs }, "helper died; starting another"),
    });
  }

  refusalOf({ image, resources }: WorkerClass): string | undefined {
    if (image !== "") return "a process has no image";
    if (resources.gpuCount > 0) return "a process is given no GPU";
    return refusalBy(this.#ground.machine, resources);
  }

  resourceName(workerId: WorkerId): string {
    return `hodei-${workerId}`;
  }

  async startWorker(spec: WorkerSpec, signal: AbortSignal): Promise<StartedWorker> {
    signal.throwIfAborted();
    const { workerId, otp, serverCa } = spec;
    const startedAt = performance.now();
    const { agentCommand: command, maxWorkers } = this.#options;
    const { groups } = this.#ground;
    const bounds = boundsOf(spec);
    const worker = {
      workerId,
      command,
      env: this.#envOf(spec),
      otp,
      serverCa,
      maxWorkers,
      groups: groups.plan(workerId, bounds),
      dataBytes: groups.has("memory") ? 0 : dataBytesOf(bounds),
    };
    try {
      const uid = String(await this.#helper.ask({ op: "start", worker }));
      if (signal.aborted) await this.stopWorker(workerId, 0);
      signal.throwIfAborted();
      this.#spawnMs += learningRate * (performance.now() - startedAt - this.#spawnMs);
      this.#feed.add({ kind: "stage", workerId, stage: "connecting", message: "agent started" });
      return { uid };
    } catch (error) {
      if (error instanceof HelperRefusal) throw new StartError(refusal(error.message), error);
      throw error;
    }
  }

  async stopWorker(workerId: WorkerId, graceMs: number): Promise<void> {
    await this.#helper.ask({ op: "stop", workerId, graceMs });
  }

  async listWorkers(): Promise<readonly ListedWorker[]> {
    const entries = (await this.#helper.ask({ op: "list" })) as ListedEntry[];
    return entries.map(({ workerId, uid, isRunning }) => ({
      id: workerId as WorkerId,
      uid,
      isRunning,
    }));
  }

  async confirmDead(
    workerId: WorkerId,
    uid: string | undefined,
  ): Promise<"dead" | "alive" | "unknown"> {
    try {
      return (await this.#helper.ask({ op: "isDead", workerId, uid })) === true ? "dead" : "alive";
    } catch (error) {
      this.#options.log?.warn({ workerId, err: error }, "cannot tell whether a worker is dead");
      return "unknown";
    }
  }

  watch(signal: AbortSignal): AsyncIterable<ProviderEvent> {
    return this.#feed.follow(signal);
  }

  async health(): Promise<Health> {
    if (!this.#helper.isAlive)
      return { state: "unhealthy", reason: "the helper is starting again" };
    try {
      await access(this.#directory, constants.W_OK);
      const { bavail, bsize } = await statfs(this.#directory);
      return bavail * bsize < leastFreeBytes
        ? { state: "degraded", reason: `less than ${leastFreeBytes} bytes free` }
        : { state: "healthy", reason: "" };
    } catch {
      return { state: "unhealthy", reason: `${this.#directory} cannot be written` };
    }
  }

  capacity(): Capacity {
    return { maxWorkers: this.#options.maxWorkers };
  }

  pricePerHour(): number {
    return 0;
  }

  startEstimateMs(): number {
    return Math.round(priorStartMs + this.#spawnMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#helper[Symbol.asyncDispose]();
    this.#feed.close();
  }

  #envOf(spec: WorkerSpec): Record<string, string> {
    return {
      ...this.#options.env,
      HODEI_WORKER_ID: spec.workerId,
      HODEI_SERVER_ADDRESS: spec.serverAddress,
      HODEI_AGENT_SLOTS: String(spec.slots),
      HODEI_DISCONNECT_TOLERANCE_MS: String(spec.disconnectToleranceMs),
    };
  }

  #noteGone(worker: GoneWorker): void {
    const workerId = worker.workerId as WorkerId;
    const isOrderly = worker.wasStopped || worker.exitCode === 0;
    const failure = isOrderly ? undefined : death(worker);
    this.#feed.add({ kind: "gone", workerId, failure });
  }
}

function refusal(message: string): Failure {
  return {
    stage: "creating",
    cause: "start_failed",
    blame: "provider",
    message,
    userCodeMayHaveRun: false,
    evidence: {},
  };
}

function death({ exitCode, signal, memoryKills, output }: GoneWorker): Failure {
  const how = signal ?? (exitCode === undefined ? "unseen" : `exit code ${exitCode}`);
  // One that ended with a code was not killed; then a job was.
  const isOutOfMemory = memoryKills > 0 && exitCode === undefined;
  return {
    stage: "running",
    ...(isOutOfMemory
      ? { cause: "out_of_memory", blame: "user", message: "the worker was out of its memory" }
      : { cause: "worker_died", blame: "node", message: `the agent's process ended (${how})` }),
    userCodeMayHaveRun: true,
    evidence: {
      ...(memoryKills === 0 ? {} : { memory_kills: String(memoryKills) }),
      ...(exitCode === undefined ? {} : { exit_code: String(exitCode) }),
      ...(signal === undefined ? {} : { signal }),
      ...(output === "" ? {} : { output }),
    },
  };
}
