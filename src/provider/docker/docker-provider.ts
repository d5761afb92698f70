import { setTimeout as wait } from "node:timers/promises";
import type { WorkerId } from "#job/id.ts";
import type { Resources } from "#job/job.ts";
import type {
  Capacity,
  Health,
  ListedWorker,
  Provider,
  ProviderCapabilities,
  ProviderEvent,
  StartedWorker,
  WorkerSpec,
} from "#provider/provider.ts";
import type { Logger } from "#telemetry.ts";
import type { WorkerClass } from "#worker/class.ts";
import { Burial, isLive } from "./burial.ts";
import type { DockerConfig } from "./config.ts";
import { limitsOf } from "./container.ts";
import { EngineFacts } from "./facts.ts";
import { openEngine, statusOf, unlessMissing, wordsOf } from "./engine.ts";
import { Feed, type Ground } from "./ground.ts";
import { Images } from "./image.ts";
import { containerNameOf, ownFilter, workerOf } from "./names.ts";
import { WorkerNetwork } from "./network.ts";
import { pricePerHour } from "./price.ts";
import { removeContainer } from "./remove.ts";
import { startContainer, type StartParts } from "./start.ts";
import { readContainerTail, Tails } from "./tail.ts";
import { Traces } from "./traces.ts";
import { ContainerWatch } from "./watch.ts";

/** From the call to a redeemed token, until more is known. */
const priorStartMs = 3_000;
const learningRate = 0.2;

export interface DockerProviderOptions {
  readonly name: string;
  /** Whose containers these are, apart from those of other servers on the same engine; stays the same when the server restarts. */
  readonly instanceId: string;
  readonly config: DockerConfig;
  /** More variables for agents; nothing secret, since inspecting a container shows them. */
  readonly env?: Readonly<Record<string, string>>;
  readonly log?: Logger;
}

/** Runs workers as containers of a Docker engine. They outlive the server. An engine that does not answer yet is unhealthy, and no error. */
export async function openDockerProvider(options: DockerProviderOptions): Promise<Provider> {
  const engine = openEngine(options.config);
  const facts = new EngineFacts(engine, options.config);
  await facts.refresh().catch((error: unknown) => {
    const { name: provider } = options;
    options.log?.warn({ provider, err: wordsOf(error) }, "the Docker engine does not answer");
  });
  const ground: Ground = {
    engine,
    config: options.config,
    ownership: { instanceId: options.instanceId, provider: options.name },
    env: options.env ?? {},
    log: options.log,
    feed: new Feed(),
    traces: new Traces(),
    tails: new Tails(),
    size: () => facts.size,
  };
  return new DockerProvider(ground, facts);
}

interface Starting {
  readonly abort: AbortController;
  readonly id: Promise<string>;
}

class DockerProvider implements Provider {
  readonly name: string;
  readonly type = "docker";
  readonly #ground: Ground;
  readonly #facts: EngineFacts;
  readonly #parts: StartParts;
  readonly #burial: Burial;
  readonly #watch: ContainerWatch;
  readonly #starting = new Map<WorkerId, Starting>();
  readonly #stop = new AbortController();
  #startMs = priorStartMs;

  constructor(ground: Ground, facts: EngineFacts) {
    this.name = ground.ownership.provider;
    this.#ground = ground;
    this.#facts = facts;
    const { engine, config } = ground;
    this.#parts = {
      ground,
      network: new WorkerNetwork(engine, config),
      images: new Images(engine, config),
    };
    this.#burial = new Burial(ground);
    this.#watch = new ContainerWatch(ground, {
      burial: this.#burial,
      isStarting: (id) => this.#starting.has(id),
    });
  }

  get capabilities(): ProviderCapabilities {
    return {
      survivesRestart: true,
      ...this.#facts.limits,
      images: true,
      gpu: this.#ground.config.gpus > 0,
      bindsTenant: false,
      bindsJob: true,
    };
  }

  refusalOf({ resources }: WorkerClass): string | undefined {
    const { config } = this.#ground;
    const { gpuCount, gpuType } = resources;
    if (gpuCount > config.gpus) {
      return config.gpus === 0 ? "a container is given no GPU" : `it has ${config.gpus} GPUs`;
    }
    if (gpuCount > 0 && gpuType !== "" && config.gpuType !== "" && gpuType !== config.gpuType) {
      return `its GPUs are ${config.gpuType}`;
    }
    const { size } = this.#facts;
    if (size === undefined) return undefined;
    if (resources.cpuMillis > size.cpus * 1_000) return `its engine has ${size.cpus} CPUs`;
    const { memoryBytes } = limitsOf({ config, engine: size }, resources);
    return memoryBytes > size.memoryBytes
      ? `its engine has ${Math.floor(size.memoryBytes / 2 ** 20)} MiB of memory`
      : undefined;
  }

  resourceName(workerId: WorkerId): string {
    return containerNameOf(workerId);
  }

  async startWorker(spec: WorkerSpec, signal: AbortSignal): Promise<StartedWorker> {
    signal.throwIfAborted();
    this.#stop.signal.throwIfAborted();
    const { workerId } = spec;
    const starting = this.#starting.get(workerId) ?? this.#begin(spec, signal);
    const uid = await starting.id;
    const message = "container started";
    this.#ground.feed.add({ kind: "stage", workerId, stage: "connecting", message });
    return { uid };
  }

  async stopWorker(workerId: WorkerId, graceMs: number): Promise<void> {
    const starting = this.#starting.get(workerId);
    starting?.abort.abort();
    await starting?.id.catch(() => undefined);
    const { engine, ownership, traces, feed } = this.#ground;
    const container = engine.calls.getContainer(containerNameOf(workerId));
    const info = await unlessMissing(container.inspect());
    if (info === undefined || workerOf(ownership, info.Config.Labels) !== workerId) return;
    const { Id: containerId } = info;
    if (!isLive(info) && info.State.Status !== "created") {
      return this.#burial.bury({ containerId, workerId });
    }
    traces.of(containerId, workerId).isStopping = true;
    if (graceMs > 0 && isLive(info)) await this.#askToEnd(containerId, graceMs);
    const tail = await readContainerTail(engine, containerId).catch(() => undefined);
    if (tail !== undefined) this.#ground.tails.keep(containerId, tail);
    await removeContainer(engine, containerId);
    if (traces.end(containerId)) feed.add({ kind: "gone", workerId, failure: undefined });
  }

  async listWorkers(): Promise<readonly ListedWorker[]> {
    const { engine, ownership } = this.#ground;
    const containers = await engine.calls.listContainers({
      all: true,
      filters: { label: ownFilter(ownership) },
    });
    return containers.flatMap(({ Id: uid, State: state, Labels: labels }) => {
      const id = workerOf(ownership, labels);
      if (id === undefined) return [];
      const isRunning =
        state === "created" ? this.#starting.has(id) : runningStates.has(state.toLowerCase());
      return [{ id, uid, isRunning }];
    });
  }

  async confirmDead(
    workerId: WorkerId,
    uid: string | undefined,
  ): Promise<"dead" | "alive" | "unknown"> {
    if (uid === undefined && this.#starting.has(workerId)) return "alive";
    const { engine, ownership, log } = this.#ground;
    const container = engine.calls.getContainer(uid ?? containerNameOf(workerId));
    try {
      const info = await unlessMissing(container.inspect());
      if (info === undefined || workerOf(ownership, info.Config.Labels) !== workerId) return "dead";
      // One that was made and not started can still be started by whoever made it.
      return isLive(info) || info.State.Status === "created" ? "alive" : "dead";
    } catch (error) {
      log?.warn({ workerId, err: wordsOf(error) }, "cannot tell whether a worker is dead");
      return "unknown";
    }
  }

  watch(signal: AbortSignal): AsyncIterable<ProviderEvent> {
    const events = this.#ground.feed.follow(signal);
    // Not earlier, so that the first to follow hears of those that ended while nobody watched.
    this.#watch.start();
    return events;
  }

  async forgetToken(workerId: WorkerId): Promise<void> {
    // The token is nowhere; that it was used tells how long the start took.
    const trace = this.#ground.traces.findWorker(workerId);
    if (trace?.hasConnected !== false || trace.startedAt === undefined) return;
    trace.hasConnected = true;
    this.#startMs += learningRate * (performance.now() - trace.startedAt - this.#startMs);
  }

  async readTail(_workerId: WorkerId, uid: string): Promise<Uint8Array | undefined> {
    return this.#ground.tails.find(uid) ?? readContainerTail(this.#ground.engine, uid);
  }

  async health(): Promise<Health> {
    const health = await this.#facts.health();
    if (health.state !== "healthy" || !this.#watch.isBlind) return health;
    return { state: "degraded", reason: "the engine's events cannot be followed" };
  }

  capacity(): Capacity {
    return { maxWorkers: this.#facts.maxWorkers };
  }

  pricePerHour(resources: Resources): number {
    return pricePerHour(this.#ground.config, resources);
  }

  startEstimateMs(): number {
    return Math.round(this.#startMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled([...this.#starting.values()].map(({ id }) => id));
    await this.#watch[Symbol.asyncDispose]();
    this.#ground.feed.close();
  }

  #begin(spec: WorkerSpec, signal: AbortSignal): Starting {
    const { workerId } = spec;
    const abort = new AbortController();
    const any = AbortSignal.any([signal, abort.signal, this.#stop.signal]);
    const id = startContainer(this.#parts, spec, any).finally(() =>
      this.#starting.delete(workerId),
    );
    const starting = { abort, id };
    this.#starting.set(workerId, starting);
    return starting;
  }

  /** Sends the polite signal and waits for as long as the grace. */
  async #askToEnd(containerId: string, graceMs: number): Promise<void> {
    const { calls, streams } = this.#ground.engine;
    try {
      await calls.getContainer(containerId).kill({ signal: "SIGTERM" });
    } catch (error) {
      // It is gone, or does not run any more.
      if (statusOf(error) === 404 || statusOf(error) === 409) return;
      throw error;
    }
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, this.#stop.signal]);
    try {
      await Promise.race([
        streams.getContainer(containerId).wait({ condition: "not-running", abortSignal: signal }),
        wait(graceMs, undefined, { signal }),
      ]);
    } catch (error) {
      this.#stop.signal.throwIfAborted();
      // It is removed in any case, only earlier than promised.
      if (statusOf(error) !== 404) throw error;
    } finally {
      over.abort();
    }
  }
}

const runningStates: ReadonlySet<string> = new Set(["running", "paused", "restarting"]);
