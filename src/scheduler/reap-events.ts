import { setTimeout as wait } from "node:timers/promises";
import type { Failure } from "#job/failure.ts";
import type { Provider, ProviderEvent } from "#provider/provider.ts";
import type { Worker } from "#worker/worker.ts";
import type { WorkerEnds } from "./reap-end.ts";
import { workerDied } from "./reap-silence.ts";
import { noteStage, type Parts, textOf } from "./start-parts.ts";

export interface EventOptions {
  readonly ends: WorkerEnds;
  /** Something was marked for removal. */
  readonly changed: () => void;
}

/** Follows what providers report; a watch that breaks is begun again. */
export interface ProviderWatches extends AsyncDisposable {
  start(provider: Provider): void;
  /** Resolves once nothing of it is under way. */
  stop(name: string): Promise<void>;
}

export function watchProviders(
  parts: Parts,
  options: EventOptions & { readonly retryMs: number },
): ProviderWatches {
  const watches = new Map<string, AsyncDisposable>();
  return {
    start(provider) {
      if (watches.has(provider.name)) throw new Error(`${provider.name} is followed already`);
      watches.set(provider.name, follow(parts, options, provider));
    },
    async stop(name) {
      await watches.get(name)?.[Symbol.asyncDispose]();
      watches.delete(name);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...watches.values()].map((watch) => watch[Symbol.asyncDispose]()));
    },
  };
}

function follow(
  parts: Parts,
  options: EventOptions & { readonly retryMs: number },
  provider: Provider,
): AsyncDisposable {
  const stop = new AbortController();
  const ends = new Set<Promise<void>>();
  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      try {
        for await (const event of provider.watch(stop.signal)) {
          const applied = applyEvent(parts, options, event).catch((error: unknown) => {
            parts.log.error({ provider: provider.name, err: error }, "cannot act on an event");
          });
          // Nothing follows the end of a worker, and its last words may take a while: what others have to say does not wait for them.
          if (event.kind !== "gone") await applied;
          else {
            ends.add(applied);
            void applied.then(() => ends.delete(applied));
          }
        }
      } catch (error) {
        if (stop.signal.aborted) return;
        parts.log.warn({ provider: provider.name, err: textOf(error) }, "watch broke off");
      }
      // The pause ends early by an abort; that is not an error.
      await wait(options.retryMs, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  };
  const running = run();
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
      await Promise.all(ends);
    },
  };
}

/** Acts on one event at once; whatever is missed, the rounds find later. */
export async function applyEvent(
  parts: Parts,
  options: EventOptions,
  event: ProviderEvent,
): Promise<void> {
  const worker = await parts.store.findWorker(event.workerId);
  if (worker === undefined || worker.state === "ended") return;
  switch (event.kind) {
    case "stage":
      return noteStage(parts, worker, { stage: event.stage, message: event.message });
    case "failed":
      return workerFailed(parts, options, { worker, ...event });
    case "stopping": {
      const seconds = Math.round(event.noticeMs / 1000);
      const message = `${worker.provider} will stop worker ${worker.id} in ${seconds} s: ${event.reason}`;
      const stage = worker.readyAt === undefined ? "connecting" : "running";
      await noteStage(parts, worker, { stage, message });
      if (worker.state !== "ready") return;
      await parts.store.drainWorker(worker.id, event.reason, parts.now());
      parts.attempts.signalDrain(worker.id, event.reason);
      return;
    }
    case "gone":
      return workerGone(options, { worker, failure: event.failure });
  }
}

async function workerFailed(
  parts: Parts,
  { ends, changed }: EventOptions,
  event: { readonly worker: Worker; readonly failure: Failure; readonly canPass: boolean },
): Promise<void> {
  const { worker, failure } = event;
  const { stage, message } = failure;
  await noteStage(parts, worker, { stage, message, failure });
  ends.blame(worker, failure);
  if (event.canPass || worker.readyAt !== undefined) return;
  await ends.stop(worker.id, message);
  changed();
}

async function workerGone(
  { ends, changed }: EventOptions,
  event: { readonly worker: Worker; readonly failure: Failure | undefined },
): Promise<void> {
  const { worker } = event;
  const isStart = worker.state === "planned" || worker.state === "starting";
  const failure = event.failure ?? ends.blameOf(worker);
  if (worker.state === "stopping") await ends.end(worker.id);
  else if (failure !== undefined) await ends.end(worker.id, failure);
  else if (isStart || worker.jobs.length > 0) await ends.end(worker.id, workerDied(worker));
  else await ends.end(worker.id);
  changed();
}
