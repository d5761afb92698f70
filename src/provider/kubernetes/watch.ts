import type { CoreV1Event, V1Pod } from "@kubernetes/client-node";
import type { WorkerId } from "#job/id.ts";
import type { ProviderEvent } from "#provider/provider.ts";
import type { Logger } from "#telemetry.ts";
import { defaultGraceMs, type GraceMs } from "./classify.ts";
import type { Connection } from "./connection.ts";
import { isKubeError } from "./kube-error.ts";
import type { Latency } from "./latency.ts";
import type { PodTally } from "./pod-tally.ts";
import { WatchFeed } from "./watch-feed.ts";
import { defaultPace, type Pace, runWatch } from "./watch-loop.ts";
import { podsOf, WatchedWorkers } from "./watch-workers.ts";

export interface WatchOptions {
  readonly log: Logger;
  /** What the pods that are ours carry, `key=value,key=value`. */
  readonly labelSelector: string;
  /** `cluster`: one watch over all namespaces. `auto`: that where it is allowed, else as `namespaces`: one for each of `namespaces`, more by `add`. */
  readonly scope: "cluster" | "namespaces" | "auto";
  readonly namespaces: readonly string[];
  /** Images of the operator's choice; what is wrong with them is no user's fault. */
  readonly defaultImages?: readonly string[];
  readonly latency?: Latency;
  readonly graceMs?: Partial<GraceMs>;
  /** For so long the end of a pod stays uncertain that was deleted while its node did not answer: until an agent there has certainly given up. */
  readonly uncertainMs?: number;
  /** A stage that does not stand for so long is not told. */
  readonly stageDelayMs?: number;
  /** A pod is not there any more; each is told once. */
  readonly onLeave?: (() => void) | undefined;
  readonly pace?: Partial<Pace>;
}

/** What the watch knows of a worker's pod. */
export interface SeenPod {
  readonly namespace: string;
  readonly uid: string;
  /** Whether its worker container may run or come to run. */
  readonly isRunning: boolean;
}

export interface PodWatcher extends AsyncDisposable {
  /** First how things stand, then whatever happens, each thing once. May be called again; ends when the signal aborts or the watcher is disposed. */
  follow(signal: AbortSignal): AsyncIterable<ProviderEvent>;
  /** Watches this namespace too, from now on. Nothing to do where the whole cluster is watched, or the second time. */
  add(namespace: string): void;
  /** Resolves once every scope has been listed; rejects when the signal aborts before. */
  synced(signal: AbortSignal): Promise<void>;
  find(id: WorkerId): SeenPod | undefined;
  /** How many workers may run or come to run. */
  readonly count: number;
  /** All of them, also those that are over and still there. */
  tally(): PodTally;
  /** This server is about to create that worker's pod: what ends it before `noteConnected` is a failed start. */
  expectStart(id: WorkerId): void;
  /** The agent has dialled back. */
  noteConnected(id: WorkerId): void;
  /** This server deletes that worker: its end is no failure. */
  expectGone(id: WorkerId): void;
  /** Whether the pod with that uid was deleted without anybody saying that its containers had ended, as on a lost node. */
  isEndUncertain(uid: string): boolean;
}

/** Watches the pods of workers, and the events about them, until it is disposed. */
export function watchPods(connection: Connection, options: WatchOptions): PodWatcher {
  const stop = new AbortController();
  const feed = new WatchFeed();
  const workers = new WatchedWorkers({
    graceMs: { ...defaultGraceMs, ...options.graceMs },
    defaultImages: new Set(options.defaultImages),
    latency: options.latency,
    uncertainMs: options.uncertainMs ?? 15 * 60_000,
    stageDelayMs: options.stageDelayMs ?? 250,
    tell: (event) => feed.add(event),
    onLeave: options.onLeave,
  });
  const scopes = new Scopes(connection, { ...options, signal: stop.signal }, workers);
  scopes.start();
  return {
    follow: (signal) => feed.follow(workers.standing(), signal),
    add: (namespace) => scopes.add(namespace),
    synced: (signal) => scopes.synced(signal),
    find: (id) => workers.find(id),
    get count() {
      return workers.count;
    },
    tally: () => workers.tally(),
    expectStart: (id) => workers.expectStart(id),
    noteConnected: (id) => workers.noteConnected(id),
    expectGone: (id) => workers.expectGone(id),
    isEndUncertain: (uid) => workers.isEndUncertain(uid),
    async [Symbol.asyncDispose]() {
      stop.abort();
      feed.close();
      workers.dispose();
      await scopes.ended();
    },
  };
}

/** Undefined: the whole cluster. */
type Scope = string | undefined;

interface Running {
  readonly loops: Promise<unknown>;
  readonly listed: PromiseWithResolvers<void>;
}

/** The watches, one pair for each scope. */
class Scopes {
  readonly #connection: Connection;
  readonly #options: WatchOptions & { readonly signal: AbortSignal };
  readonly #workers: WatchedWorkers;
  readonly #namespaces: Set<string>;
  readonly #running = new Map<Scope, Running>();
  #isWhole: boolean;

  constructor(
    connection: Connection,
    options: WatchOptions & { readonly signal: AbortSignal },
    workers: WatchedWorkers,
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#workers = workers;
    this.#namespaces = new Set(options.namespaces);
    this.#isWhole = options.scope !== "namespaces";
  }

  start(): void {
    if (this.#isWhole) this.#run(undefined);
    else for (const namespace of this.#namespaces) this.#run(namespace);
  }

  add(namespace: string): void {
    this.#namespaces.add(namespace);
    if (!this.#isWhole && !this.#options.signal.aborted) this.#run(namespace);
  }

  async synced(signal: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<never>();
    const onAbort = (): void => aborted.reject(signal.reason);
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
    try {
      // A cluster that may not be watched as a whole becomes several scopes meanwhile.
      let count = -1;
      while (count !== this.#running.size) {
        count = this.#running.size;
        const all = [...this.#running.values()].map(({ listed }) => listed.promise);
        await Promise.race([Promise.all(all), aborted.promise]);
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async ended(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ loops }) => loops));
  }

  #run(scope: Scope): void {
    if (this.#running.has(scope)) return;
    const listed = Promise.withResolvers<void>();
    const loops = Promise.all([this.#runPods(scope, listed.resolve), this.#runEvents(scope)]);
    this.#running.set(scope, { loops, listed });
  }

  async #runPods(scope: Scope, listed: () => void): Promise<void> {
    const { labelSelector } = this.#options;
    const workers = this.#workers;
    await runWatch<V1Pod>(
      this.#connection,
      {
        ...this.#loop(scope, "pods"),
        query: { labelSelector },
        isFatal: (error) => this.#splits(scope, error, listed),
      },
      {
        found: (pod) => workers.see(pod),
        listed: (uids) => {
          workers.keepOnly(scope, uids);
          listed();
        },
        changed: (type, pod) => (type === "DELETED" ? workers.deleted(pod) : workers.see(pod)),
      },
    );
  }

  async #runEvents(scope: Scope): Promise<void> {
    const workers = this.#workers;
    let found: CoreV1Event[] = [];
    await runWatch<CoreV1Event>(
      this.#connection,
      {
        ...this.#loop(scope, "events"),
        query: { fieldSelector: "involvedObject.kind=Pod" },
        maxPages: 20,
        isFatal: () => scope === undefined && !this.#isWhole,
      },
      {
        found: (event) => {
          if (podsOf(event)) found.push(event);
        },
        // A list has no order in time; the versions have.
        listed: () => {
          for (const event of found.toSorted(byVersion)) workers.hear(event);
          found = [];
        },
        changed: (type, event) => {
          if (type !== "DELETED") workers.hear(event);
        },
      },
    );
  }

  #loop(scope: Scope, resource: "pods" | "events") {
    const where = scope === undefined ? "" : `/namespaces/${scope}`;
    const { log, pace, signal } = this.#options;
    return {
      path: `/api/v1${where}/${resource}`,
      log,
      pace: { ...defaultPace, ...pace },
      signal,
    };
  }

  /** Whether the whole cluster may not be watched, and its namespaces are watched one by one from now on. */
  #splits(scope: Scope, error: unknown, listed: () => void): boolean {
    if (scope !== undefined || this.#options.scope !== "auto") return false;
    if (!isKubeError(error, 403)) return false;
    this.#isWhole = false;
    this.#options.log.info({}, "watches namespaces one by one, since the cluster is not allowed");
    for (const namespace of this.#namespaces) this.#run(namespace);
    listed();
    return true;
  }
}

function byVersion(a: CoreV1Event, b: CoreV1Event): number {
  return Number(a.metadata.resourceVersion ?? 0) - Number(b.metadata.resourceVersion ?? 0);
}
