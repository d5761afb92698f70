import { onTestFinished } from "vitest";
import { type WorkerId, workerIdOf } from "#job/id.ts";
import { type PodWatcher, watchPods, type WatchOptions } from "#provider/kubernetes/watch.ts";
import type { ProviderEvent } from "#provider/provider.ts";
import { createLogger } from "#telemetry.ts";
import { FakeConnection } from "./fake-connection.ts";

export const id = workerIdOf(1);

export interface Scene {
  readonly cluster: FakeConnection;
  readonly watcher: PodWatcher;
  /** What was told since the watch began. */
  readonly events: readonly ProviderEvent[];
}

/** Watches a small cluster until the test is over. */
export async function watch(
  some: Partial<WatchOptions> = {},
  cluster = new FakeConnection(),
): Promise<Scene> {
  const watcher = watchPods(cluster, {
    log: createLogger("silent"),
    labelSelector: "hodei.io/managed=true",
    scope: "cluster",
    namespaces: [],
    stageDelayMs: 0,
    ...some,
    pace: { minPauseMs: 1, maxPauseMs: 5, ...some.pace },
  });
  const events: ProviderEvent[] = [];
  const follow = async () => {
    for await (const event of watcher.follow(new AbortController().signal)) events.push(event);
  };
  const following = follow();
  onTestFinished(async () => {
    await watcher[Symbol.asyncDispose]();
    await following;
  });
  await watcher.synced(AbortSignal.timeout(5_000));
  return { cluster, watcher, events };
}

export const running = { running: {} };
export const creating = { waiting: { reason: "ContainerCreating" } };
export const missing = { waiting: { reason: "ErrImagePull", message: "code = NotFound" } };

export function exited(exitCode: number): object {
  return { terminated: { exitCode, reason: "Error", startedAt: "2026-11-20T20:00:00Z" } };
}

/** A worker's pod whose container is in that state; without a state no node has it yet. */
export function pod(
  state?: object,
  more: {
    readonly worker?: WorkerId;
    readonly namespace?: string;
    readonly phase?: string;
    readonly conditions?: readonly object[];
    /** It is being deleted, with so much grace. */
    readonly deletingSeconds?: number;
  } = {},
): object {
  const { worker = id, namespace = "workers", phase = "Pending", deletingSeconds } = more;
  return {
    metadata: {
      name: `hodei-worker-${worker}`,
      namespace,
      uid: `uid-${worker}`,
      labels: { "hodei.io/worker-id": worker },
      ...(deletingSeconds === undefined
        ? {}
        : {
            deletionTimestamp: "2026-11-20T20:00:00Z",
            deletionGracePeriodSeconds: deletingSeconds,
          }),
    },
    spec: {
      containers: [{ name: "worker", image: "image:1" }],
      terminationGracePeriodSeconds: 30,
      ...(state === undefined ? {} : { nodeName: "node-1" }),
    },
    status: {
      phase,
      conditions: more.conditions ?? [],
      ...(state === undefined ? {} : { containerStatuses: [{ name: "worker", state }] }),
    },
  };
}

export function eventAbout(reason: string, message: string): object {
  return {
    metadata: { name: `e-${reason}`, namespace: "workers", uid: `event-${reason}` },
    involvedObject: { kind: "Pod", name: `hodei-worker-${id}`, uid: `uid-${id}` },
    reason,
    message,
  };
}

export function kindsOf(events: readonly ProviderEvent[]): readonly string[] {
  return events.map(({ kind }) => kind);
}
