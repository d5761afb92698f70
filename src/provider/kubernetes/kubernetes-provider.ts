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
import { attestWorker } from "./attest.ts";
import { type CapacityGauge, startCapacity } from "./capacity.ts";
import type { KubernetesConfig } from "./config.ts";
import { type AnsweredCall, openConnection } from "./connection.ts";
import { checkHealth } from "./health.ts";
import { startInfrastructure } from "./infrastructure-keep.ts";
import { createLatency, type Latency, type StartPhase } from "./latency.ts";
import { podNameOf, selectorOf } from "./names.ts";
import { PodApi } from "./pod-api.ts";
import type { PodGround } from "./pod-ground.ts";
import { Places } from "./pod-places.ts";
import { startReaper } from "./pod-reaper.ts";
import { PodStarts } from "./pod-starts.ts";
import { foundIn, isOver } from "./pod-state.ts";
import { PodStops } from "./pod-stops.ts";
import type { PodTally } from "./pod-tally.ts";
import { pricePerHour } from "./price.ts";
import { refusalOf } from "./refusal.ts";
import { readPodTail } from "./tail.ts";
import { watchPods } from "./watch.ts";
import { WorkerNamespaces } from "./worker-namespaces.ts";

export interface KubernetesProviderOptions {
  readonly name: string;
  readonly config: KubernetesConfig;
  /** Whose workers these are; stays the same when the server restarts. */
  readonly instanceId: string;
  readonly log: Logger;
  /** What agents get beside their own settings; anybody who may read pods reads it. */
  readonly env?: Readonly<Record<string, string>>;
  /** Each part of each start, for a histogram. */
  readonly onStartPhase?: (phase: StartPhase, ms: number) => void;
  /** Each try of a call of the API, watches left out. */
  readonly onCall?: (call: AnsweredCall) => void;
  /** A worker's pod is not there any more. */
  readonly onPodGone?: () => void;
  /** Its pods can be counted, until what this gives is called. */
  readonly onOpen?: (tally: () => PodTally) => () => void;
  /** How often leftovers are looked for. */
  readonly reapIntervalMs?: number;
}

/** How long calls may still take once nobody waits for their outcome. */
const closeMs = 2_000;

/**
 * Runs workers as pods. Rejects where the cluster's configuration cannot be used; a cluster that does not answer, or that refuses what its namespaces
 * need, is the provider's health.
 */
export async function openKubernetesProvider(
  options: KubernetesProviderOptions,
): Promise<Provider> {
  await using parts = new AsyncDisposableStack(); // Undoes an opening that fails halfway.
  const { config, log, name, instanceId, env = {} } = options;
  const connection = parts.use(
    await openConnection(config, {
      log,
      ...(options.onCall === undefined ? {} : { onCall: options.onCall }),
    }),
  );
  const infrastructure = parts.use(startInfrastructure({ connection, config, log }));
  const namespaces = new WorkerNamespaces({ config, connection, infrastructure, log });
  await namespaces.open();
  const { onStartPhase: observe } = options;
  const latency = createLatency(observe === undefined ? {} : { observe });
  const watcher = parts.use(
    watchPods(connection, {
      log,
      labelSelector: selectorOf(instanceId),
      scope: config.dynamicNamespaces ? "auto" : "namespaces",
      namespaces: namespaces.known,
      defaultImages: imagesOf(config),
      latency,
      onLeave: options.onPodGone,
    }),
  );
  const close = options.onOpen?.(() => watcher.tally());
  if (close !== undefined) parts.defer(close);
  const ground: PodGround = {
    config,
    name,
    instanceId,
    env,
    log,
    connection,
    api: new PodApi(connection),
    namespaces,
    watcher,
    places: new Places(),
  };
  const stops = parts.use(new PodStops(ground));
  const starts = new PodStarts(ground);
  parts.use(
    startReaper(ground, {
      isStarting: (id) => starts.isStarting(id),
      ...(options.reapIntervalMs === undefined ? {} : { intervalMs: options.reapIntervalMs }),
    }),
  );
  parts.use(removeEnded(ground, stops));
  // A cluster that does not answer would keep all of the above; what they leave, the next server finds.
  parts.defer(() => connection.endWithin(closeMs));
  parts.defer(() => starts.settleAll());
  const countWorkers = (): number => watcher.count;
  const capacity = parts.use(startCapacity({ connection, config, log, countWorkers }));
  return new KubernetesProvider({ ground, latency, capacity, starts, stops, owned: parts.move() });
}

function imagesOf({ image, initContainers, sidecars }: KubernetesConfig): string[] {
  return [image, ...[...initContainers, ...sidecars].flatMap((container) => container.image ?? [])];
}

/** Removes each worker that the watch sees end. */
function removeEnded(ground: PodGround, stops: PodStops): AsyncDisposable {
  const stop = new AbortController();
  const follow = async (): Promise<void> => {
    for await (const event of ground.watcher.follow(stop.signal)) {
      if (event.kind !== "gone") continue;
      const { workerId } = event;
      stops.ended(workerId, { isOrderly: event.failure === undefined }).catch((error: unknown) => {
        // The reaper tries again.
        ground.log.debug({ workerId, err: error }, "cannot remove an ended worker yet");
      });
    }
  };
  const following = follow();
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await following;
    },
  };
}

interface ProviderParts {
  readonly ground: PodGround;
  readonly latency: Latency;
  readonly capacity: CapacityGauge;
  readonly starts: PodStarts;
  readonly stops: PodStops;
  readonly owned: AsyncDisposableStack;
}

class KubernetesProvider implements Provider {
  readonly name: string;
  readonly type = "kubernetes";
  readonly capabilities: ProviderCapabilities;
  readonly #parts: ProviderParts;

  constructor(parts: ProviderParts) {
    const { name, config } = parts.ground;
    this.name = name;
    this.#parts = parts;
    this.capabilities = {
      survivesRestart: true,
      memoryLimit: true,
      cpuLimit: true,
      images: true,
      gpu: true,
      bindsTenant: config.dynamicNamespaces,
      bindsJob: true,
    };
  }

  refusalOf(workerClass: WorkerClass): string | undefined {
    return refusalOf(this.#parts.ground.config, workerClass);
  }

  resourceName(workerId: WorkerId): string {
    return podNameOf(workerId);
  }

  startWorker(spec: WorkerSpec, signal: AbortSignal): Promise<StartedWorker> {
    const { creationTimeoutSeconds } = this.#parts.ground.config;
    const late = AbortSignal.timeout(creationTimeoutSeconds * 1_000);
    return this.#parts.starts.start(spec, AbortSignal.any([signal, late]));
  }

  async stopWorker(id: WorkerId, graceMs: number): Promise<void> {
    await this.#parts.starts.settled(id);
    await this.#parts.stops.stop(id, graceMs);
  }

  /** Those that still run; a failed one that is kept for a look at it is not among them. */
  async listWorkers(): Promise<readonly ListedWorker[]> {
    const { api, namespaces, instanceId } = this.#parts.ground;
    const pods = await api.listPods(namespaces.scope, selectorOf(instanceId));
    return pods.flatMap((pod) => {
      const found = foundIn(pod);
      if (found === undefined || isOver(pod)) return [];
      return [{ id: found.id, uid: found.uid, isRunning: true }];
    });
  }

  confirmDead(id: WorkerId, uid: string | undefined): Promise<"dead" | "alive" | "unknown"> {
    return this.#parts.stops.confirmDead(id, uid);
  }

  watch(signal: AbortSignal): AsyncIterable<ProviderEvent> {
    return this.#parts.ground.watcher.follow(signal);
  }

  async forgetToken(id: WorkerId): Promise<void> {
    this.#parts.ground.watcher.noteConnected(id);
    await this.#parts.stops.dropToken(id);
  }

  async attest(
    { id, uid }: { readonly id: WorkerId; readonly uid: string },
    token: string,
  ): Promise<boolean> {
    const { config, connection, places, watcher } = this.#parts.ground;
    const namespace = places.find(id)?.namespace ?? watcher.find(id)?.namespace;
    if (!config.attestation || namespace === undefined) return false;
    const { attestationAudience: audience, serviceAccount } = config;
    return attestWorker(connection, { token, audience, namespace, serviceAccount, podUid: uid });
  }

  async readTail(id: WorkerId, uid: string): Promise<Uint8Array | undefined> {
    const { connection, watcher } = this.#parts.ground;
    const seen = watcher.find(id);
    if (seen?.uid !== uid) return undefined;
    return readPodTail(connection, { namespace: seen.namespace, name: podNameOf(id) });
  }

  async health(): Promise<Health> {
    const { connection, config, namespaces } = this.#parts.ground;
    const health = await checkHealth(connection, config.namespace);
    if (health.state !== "healthy" || namespaces.problem === "") return health;
    return { state: "degraded", reason: namespaces.problem };
  }

  capacity(workerClass?: WorkerClass): Capacity {
    return this.#parts.capacity.read(workerClass?.resources);
  }

  pricePerHour(resources: Resources): number {
    return pricePerHour(this.#parts.ground.config, resources);
  }

  startEstimateMs(): number {
    return this.#parts.latency.estimateMs();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.owned.disposeAsync();
  }
}
