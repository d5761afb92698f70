import type { Readable } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import type { WorkerId } from "#job/id.ts";
import { every, type Loop } from "#every.ts";
import type { Burial } from "./burial.ts";
import { wordsOf } from "./engine.ts";
import type { Ground } from "./ground.ts";
import { readJsonLines } from "./lines.ts";
import { keys, ownFilter, workerOf } from "./names.ts";
import { removeContainer } from "./remove.ts";

const retryMs = 200;
const retryMostMs = 5_000;
/** Shorter interruptions are nobody's business. */
const blindMs = 3_000;
const lookEveryMs = 30_000;
/** After this long a container that was made and not started was left by a server that is gone. */
const abandonedMs = 120_000;

export interface WatchHooks {
  readonly burial: Burial;
  readonly isStarting: (id: WorkerId) => boolean;
}

interface EngineEvent {
  readonly Action?: string;
  readonly Actor?: { readonly ID?: string; readonly Attributes?: Readonly<Record<string, string>> };
  readonly time?: number;
  readonly timeNano?: number;
}

/** Follows what the engine says of our containers, and looks at them all each time it begins and now and then, so that nothing missed stays missed. */
export class ContainerWatch implements AsyncDisposable {
  readonly #ground: Ground;
  readonly #hooks: WatchHooks;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #looks: Loop | undefined;
  /** Monotonic; undefined while it sees. */
  #blindSince: number | undefined = performance.now();
  /** Of the newest event, by the engine's clock. */
  #lastSeconds: number | undefined;
  #lastNanos = 0;

  constructor(ground: Ground, hooks: WatchHooks) {
    this.#ground = ground;
    this.#hooks = hooks;
  }

  /** Whether it should see what happens, and has not for a while. */
  get isBlind(): boolean {
    const since = this.#blindSince;
    const isStarted = this.#running !== undefined;
    return isStarted && since !== undefined && performance.now() - since > blindMs;
  }

  start(): void {
    if (this.#running !== undefined || this.#stop.signal.aborted) return;
    this.#blindSince = performance.now();
    this.#running = this.#run();
    const { log, ownership } = this.#ground;
    const onError = (error: unknown): void =>
      log?.debug({ ...ownership, err: wordsOf(error) }, "cannot look at the containers");
    // The first look is that of the stream of events.
    let isFirst = true;
    this.#looks = every({ intervalMs: lookEveryMs, onError }, async () => {
      if (!isFirst) await this.#look();
      isFirst = false;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#looks?.[Symbol.asyncDispose]();
  }

  async #run(): Promise<void> {
    const { log, ownership } = this.#ground;
    const { signal } = this.#stop;
    let pauseMs = retryMs;
    while (!signal.aborted) {
      try {
        await this.#follow(() => (pauseMs = retryMs));
      } catch (error) {
        if (signal.aborted) return;
        log?.warn({ provider: ownership.provider, err: wordsOf(error) }, "lost the events");
      } finally {
        this.#blindSince ??= performance.now();
      }
      await wait(pauseMs, undefined, { signal }).catch(() => undefined);
      pauseMs = Math.min(pauseMs * 2, retryMostMs);
    }
  }

  async #follow(connected: () => void): Promise<void> {
    const { engine, ownership } = this.#ground;
    const stream = await engine.streams.getEvents({
      filters: {
        type: ["container"],
        event: ["die", "destroy", "oom", "kill"],
        label: ownFilter(ownership),
      },
      ...(this.#lastSeconds === undefined ? {} : { since: this.#lastSeconds }),
      abortSignal: this.#stop.signal,
    });
    try {
      // Whatever happens from now on is in the stream, and whatever happened before is seen here.
      await this.#look();
      this.#blindSince = undefined;
      connected();
      for await (const event of readJsonLines(stream)) this.#take(event as EngineEvent);
    } finally {
      (stream as Readable).destroy();
    }
  }

  #take({ Action: action, Actor: actor, time, timeNano = 0 }: EngineEvent): void {
    // `since` counts in seconds, so some are told twice.
    if (timeNano !== 0 && timeNano < this.#lastNanos) return;
    this.#lastNanos = timeNano;
    this.#lastSeconds = time ?? this.#lastSeconds;
    const { ownership, traces, feed } = this.#ground;
    const workerId = workerOf(ownership, actor?.Attributes);
    const containerId = actor?.ID;
    if (workerId === undefined || containerId === undefined || traces.isOver(containerId)) return;
    const trace = traces.of(containerId, workerId);
    const attributes = actor?.Attributes ?? {};
    switch (action ?? "") {
      case "kill":
        trace.sentSignal = Number(attributes["signal"] ?? 0);
        return;
      case "oom": {
        if (trace.wasOutOfMemory) return;
        trace.wasOutOfMemory = true;
        const message = "the container is out of its memory; the kernel killed a process in it";
        feed.add({ kind: "stage", workerId, stage: "running", message });
        return;
      }
      case "die":
      case "destroy": {
        const { exitCode, image } = attributes;
        this.#bury(containerId, workerId, {
          ...(exitCode === undefined ? {} : { exitCode: Number(exitCode) }),
          ...(image === undefined ? {} : { image }),
        });
        return;
      }
    }
  }

  #bury(
    containerId: string,
    workerId: WorkerId,
    said: { readonly exitCode?: number; readonly image?: string } = {},
  ): void {
    this.#hooks.burial.bury({ containerId, workerId, ...said }).catch((error: unknown) => {
      // The next look finds it again.
      this.#ground.log?.warn({ workerId, err: wordsOf(error) }, "cannot bury a container");
    });
  }

  /** How things stand: notes what runs, and buries what does not. */
  async #look(): Promise<void> {
    const { engine, ownership, traces } = this.#ground;
    const known = traces.list();
    const containers = await engine.calls.listContainers({
      all: true,
      filters: { label: ownFilter(ownership) },
    });
    for (const { Id: id, State: state, Created: createdSeconds, Labels: labels } of containers) {
      const workerId = workerOf(ownership, labels);
      if (workerId === undefined) continue;
      const ageMs = Date.now() - createdSeconds * 1_000;
      if (state === "exited" || state === "dead") this.#bury(id, workerId);
      else if (state === "created") {
        if (ageMs > abandonedMs && !this.#hooks.isStarting(workerId)) this.#bury(id, workerId);
      } else {
        const trace = traces.of(id, workerId);
        const mostMs = Number(labels[keys.maxLifetimeMs] ?? Infinity);
        if (ageMs > mostMs && !trace.isStopping) {
          trace.isExpired = true;
          await removeContainer(engine, id);
        }
      }
    }
    const listed = new Set(containers.map(({ Id: id }) => id));
    for (const [id, { workerId }] of known) if (!listed.has(id)) this.#bury(id, workerId);
  }
}
