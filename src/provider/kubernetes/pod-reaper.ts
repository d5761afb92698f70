import type { V1Pod, V1Secret } from "@kubernetes/client-node";
import { every, type Loop } from "#every.ts";
import { isWorkerId, type WorkerId } from "#job/id.ts";
import { keys, selectorOf } from "./names.ts";
import type { PodGround } from "./pod-ground.ts";
import { foundIn, hasFailed, heldUntil, isOver } from "./pod-state.ts";

const intervalMs = 15_000;
/** Of a pod that failed: its last lines may be read for so long, also where failed pods are not kept. */
const tailMs = 10_000;
/** A worker that runs for so long has redeemed its token long ago, whether or not anybody removed its Secret. */
const oldSecretMs = 3_600_000;
const maxDeletes = 16;

export interface ReaperOptions {
  readonly isStarting: (id: WorkerId) => boolean;
  readonly intervalMs?: number;
}

/** Removes what is left of workers that are over, in every namespace of ours and by our labels alone (DESIGN G12). */
export function startReaper(ground: PodGround, options: ReaperOptions): Loop {
  const reaper = new Reaper(ground, options);
  const onError = (error: unknown): void =>
    ground.log.warn({ provider: ground.name, err: error }, "cannot look for leftovers");
  return every({ intervalMs: options.intervalMs ?? intervalMs, onError }, () => reaper.round());
}

export class Reaper {
  readonly #ground: PodGround;
  readonly #options: Pick<ReaperOptions, "isStarting">;
  /** By uid: when a pod was first seen to be over, a Secret to be nobody's. */
  #since = new Map<string, number>();

  constructor(ground: PodGround, options: Pick<ReaperOptions, "isStarting">) {
    this.#ground = ground;
    this.#options = options;
  }

  async round(): Promise<void> {
    const { api, namespaces, instanceId, config, watcher } = this.#ground;
    await namespaces.refresh();
    for (const namespace of namespaces.known) watcher.add(namespace);
    const selector = selectorOf(instanceId);
    // Secrets come before their pods, so that the list of pods knows of every Secret's.
    const secrets = config.attestation
      ? []
      : await api.listSecrets(namespaces.secretScope(), selector);
    const pods = await api.listPods(namespaces.scope, selector);
    const before = this.#since;
    this.#since = new Map();
    const over = pods.filter((pod) => this.#isToGo(pod, before));
    const orphans = this.#orphansOf(secrets, pods, before);
    await inTurns([
      ...over.map((pod) => () => this.#removePod(pod)),
      ...orphans.map((secret) => () => this.#removeSecret(secret)),
    ]);
  }

  #isToGo(pod: V1Pod, before: ReadonlyMap<string, number>): boolean {
    const found = foundIn(pod);
    if (found === undefined || !isOver(pod)) return false;
    const since = this.#note(found.uid, before);
    const { ttlSecondsAfterFinished } = this.#ground.config;
    const least = hasFailed(pod) ? since + tailMs : since;
    return performance.now() >= least && Date.now() >= heldUntil(pod, ttlSecondsAfterFinished);
  }

  /** Secrets that no pod can need any more; what was seen for the first time waits for the next round. */
  #orphansOf(
    secrets: readonly V1Secret[],
    pods: readonly V1Pod[],
    before: ReadonlyMap<string, number>,
  ): V1Secret[] {
    const live = new Set(
      pods.filter((pod) => !isOver(pod)).map((pod) => pod.metadata?.labels?.[keys.workerId]),
    );
    return secrets.filter(({ metadata }) => {
      const { uid = "", labels, creationTimestamp } = metadata ?? {};
      const id = labels?.[keys.workerId] ?? "";
      if (!isWorkerId(id) || this.#options.isStarting(id)) return false;
      const createdAt = new Date(creationTimestamp ?? 0).getTime();
      const isOld = Date.now() - createdAt > oldSecretMs;
      if (live.has(id) && !isOld) return false;
      this.#note(uid, before);
      return before.has(uid);
    });
  }

  #note(uid: string, before: ReadonlyMap<string, number>): number {
    const since = before.get(uid) ?? performance.now();
    this.#since.set(uid, since);
    return since;
  }

  async #removePod(pod: V1Pod): Promise<void> {
    const { api, watcher, log } = this.#ground;
    const found = foundIn(pod);
    const name = pod.metadata?.name;
    if (found === undefined || name === undefined) return;
    watcher.expectGone(found.id);
    await api.deletePod({ ...found, name }, 0);
    log.debug({ workerId: found.id, namespace: found.namespace }, "pod of an ended worker removed");
  }

  async #removeSecret({ metadata }: V1Secret): Promise<void> {
    const { name, namespace } = metadata ?? {};
    if (name === undefined || namespace === undefined) return;
    await this.#ground.api.deleteSecret(namespace, name);
    this.#ground.log.debug({ secret: name, namespace }, "Secret of an ended worker removed");
  }
}

async function inTurns(tasks: readonly (() => Promise<void>)[]): Promise<void> {
  const rest = [...tasks];
  const failures: unknown[] = [];
  const work = async (): Promise<void> => {
    for (let task = rest.shift(); task !== undefined; task = rest.shift()) {
      await task().catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: Math.min(maxDeletes, rest.length) }, work));
  if (failures.length > 0) throw new AggregateError(failures, "cannot remove every leftover");
}
