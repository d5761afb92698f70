import { setTimeout as wait } from "node:timers/promises";
import { HodeiError } from "#error.ts";
import type { WorkerId } from "#job/id.ts";
import { keys, podNameOf, secretNameOf, selectorOf } from "./names.ts";
import type { PodGround } from "./pod-ground.ts";
import { type FoundPod, foundIn, isDoubtful, isOver } from "./pod-state.ts";

/** How long after its grace a pod may still be there before its node is doubted. */
const slackMs = 15_000;
const pollMs = 25;
/** The watch may be behind; then the API itself is asked so often. */
const lookMs = 1_000;

interface Known {
  readonly namespace: string;
  readonly uid: string | undefined;
  readonly hasSecret: boolean;
}

/** Ends workers, and says whether they have ended. */
export class PodStops {
  readonly #ground: PodGround;
  readonly #stopping = new Map<WorkerId, Promise<void>>();
  readonly #stop = new AbortController();

  constructor(ground: PodGround) {
    this.#ground = ground;
  }

  /** Resolves once nothing of it runs; rejects when its node does not end it in time. */
  stop(id: WorkerId, graceMs: number): Promise<void> {
    const running = this.#stopping.get(id);
    if (running !== undefined) return running;
    const stopping = this.#run(id, graceMs).finally(() => this.#stopping.delete(id));
    this.#stopping.set(id, stopping);
    return stopping;
  }

  isStopping(id: WorkerId): boolean {
    return this.#stopping.has(id);
  }

  /** The watch has seen the end of a worker. One that ended well is removed at once; another is the reaper's, since somebody may want to look at it. */
  async ended(id: WorkerId, { isOrderly }: { readonly isOrderly: boolean }): Promise<void> {
    if (this.isStopping(id)) return;
    const { watcher, places } = this.#ground;
    const seen = watcher.find(id);
    const known = places.find(id);
    const uid = seen?.uid ?? known?.uid;
    const namespace = seen?.namespace ?? known?.namespace;
    if (seen?.isRunning === true || namespace === undefined) return;
    if (!this.#isEndOpen(id, uid)) places.ended(id, uid);
    if (known?.hasSecret === true) await this.#tryDropSecret(id, namespace);
    if (isOrderly && seen !== undefined) await this.#deletePod({ id, namespace, uid }, 0);
  }

  /** By uid where it is given: a pod of the same name may be another one. */
  async confirmDead(id: WorkerId, uid: string | undefined): Promise<"dead" | "alive" | "unknown"> {
    const { places, watcher, api } = this.#ground;
    if (uid !== undefined) {
      if (places.isDead(uid)) return "dead";
      if (watcher.isEndUncertain(uid)) return "unknown";
      const seen = watcher.find(id);
      if (seen?.uid === uid && !seen.isRunning) return "dead";
    }
    const known = await this.#find(id);
    const pod = known && (await api.findPod(known.namespace, podNameOf(id)));
    const isSame = pod !== undefined && (uid === undefined || pod.metadata?.uid === uid);
    if (isSame && isOver(pod)) return "dead";
    if (isSame) return isDoubtful(pod, Date.now()) ? "unknown" : "alive";
    return this.#isEndOpen(id, uid) ? "unknown" : "dead";
  }

  /** The pod is gone, but nobody has said yet that its containers are: the watch will, or will say that nobody knows. */
  #isEndOpen(id: WorkerId, uid: string | undefined): boolean {
    const { watcher } = this.#ground;
    if (uid !== undefined && watcher.isEndUncertain(uid)) return true;
    const seen = watcher.find(id);
    return seen?.isRunning === true && (uid === undefined || seen.uid === uid);
  }

  async dropToken(id: WorkerId): Promise<void> {
    const { places, watcher } = this.#ground;
    const known = places.find(id);
    if (known !== undefined && !known.hasSecret) return;
    const namespace = known?.namespace ?? watcher.find(id)?.namespace;
    if (namespace !== undefined) await this.#dropSecret(id, namespace);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#stopping.values());
  }

  async #run(id: WorkerId, graceMs: number): Promise<void> {
    const { watcher, places, config, api } = this.#ground;
    if (places.hasEnded(id)) return;
    watcher.expectGone(id);
    const known = await this.#find(id);
    if (known === undefined) return;
    const { namespace } = known;
    const seen = watcher.find(id);
    const uid = seen?.uid ?? known.uid;
    const dropping = known.hasSecret ? this.#tryDropSecret(id, namespace) : undefined;
    if (seen?.isRunning === false) {
      if (config.ttlSecondsAfterFinished === 0) await this.#deletePod({ id, namespace, uid }, 0);
    } else {
      const isThere = await api.deletePod({ namespace, name: podNameOf(id), uid }, graceMs);
      if (isThere || this.#isEndOpen(id, uid)) {
        await this.#untilGone({ id, namespace, uid }, { graceMs, wasSeen: seen !== undefined });
      }
    }
    await dropping;
    if (!this.#isEndOpen(id, uid)) places.ended(id, uid);
  }

  async #untilGone(
    at: Omit<FoundPod, "uid"> & { readonly uid: string | undefined },
    { graceMs, wasSeen }: { readonly graceMs: number; readonly wasSeen: boolean },
  ): Promise<void> {
    const { watcher, api } = this.#ground;
    const startedAt = performance.now();
    let wasThere = wasSeen;
    let lookAt = startedAt + lookMs;
    for (;;) {
      const seen = watcher.find(at.id);
      const isThere = seen !== undefined && (at.uid === undefined || seen.uid === at.uid);
      if (isThere && !seen.isRunning) return;
      if (!isThere && wasThere) return;
      wasThere ||= isThere;
      const now = performance.now();
      if (now > lookAt) {
        lookAt = now + lookMs;
        const pod = await api.findPod(at.namespace, podNameOf(at.id));
        const isSame = pod !== undefined && (at.uid === undefined || pod.metadata?.uid === at.uid);
        if (isSame ? isOver(pod) : !isThere) return;
      }
      if (now > startedAt + graceMs + slackMs) {
        throw new HodeiError("unavailable", `pod ${podNameOf(at.id)} is still there`);
      }
      await wait(pollMs, undefined, { signal: this.#stop.signal });
    }
  }

  /** Where a worker is: as this server remembers or sees it, else by its labels, in every namespace. */
  async #find(id: WorkerId): Promise<Known | undefined> {
    const { places, watcher, api, namespaces, instanceId } = this.#ground;
    const known = places.find(id);
    if (known !== undefined) return known;
    const seen = watcher.find(id);
    if (seen !== undefined) return { ...seen, namespace: seen.namespace, hasSecret: true };
    const selector = `${selectorOf(instanceId)},${keys.workerId}=${id}`;
    const [pod] = await api.listPods(namespaces.scope, selector);
    const found = pod && foundIn(pod);
    return found && { ...found, hasSecret: true };
  }

  async #dropSecret(id: WorkerId, namespace: string): Promise<void> {
    const { api, places, config } = this.#ground;
    if (config.attestation) return;
    await api.deleteSecret(namespace, secretNameOf(id));
    places.noteSecret(id, { hasSecret: false });
  }

  /** What is left of it holds up no worker's end: the reaper tries again. */
  async #tryDropSecret(id: WorkerId, namespace: string): Promise<void> {
    try {
      await this.#dropSecret(id, namespace);
    } catch (error) {
      this.#ground.log.debug({ workerId: id, namespace, err: error }, "Secret not removed yet");
    }
  }

  async #deletePod(
    { id, namespace, uid }: { id: WorkerId; namespace: string; uid: string | undefined },
    graceMs: number,
  ): Promise<void> {
    await this.#ground.api.deletePod({ namespace, name: podNameOf(id), uid }, graceMs);
  }
}
