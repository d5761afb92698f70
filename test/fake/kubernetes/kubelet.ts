import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { listProcesses } from "#processes.ts";

import { recordEvent } from "./kubelet-events.ts";
import type { Images } from "./kubelet-images.ts";
import type { ContainerLog, LogQuery } from "./kubelet-log.ts";
import { PodKeeper } from "./kubelet-pod.ts";
import type { ContainerProcess } from "./kubelet-process.ts";
import { isFinal, specOf, type Where } from "./kubelet-types.ts";
import { volumeUses, type IssueToken } from "./kubelet-volumes.ts";
import { timestamp, type Change, type Objects, type Pod } from "./objects.ts";
import type { Timings } from "./timings.ts";

export interface KubeletOptions {
  readonly objects: Objects;
  readonly name: string;
  readonly hostIp: string;
  readonly timings: Timings;
  /** Asked at every start, so that a test may change what an image does. */
  readonly images: () => Images;
  readonly issueToken: IssueToken;
  readonly allocateIp: () => string;
  /** Whether a container runs as the user that its pod names, where this process may do that. */
  readonly isUserKept: boolean;
}

/**
 * Runs the pods of one node as processes of this machine. As root it takes the user that the pod
 * names; there is no root file system, no network and no pid namespace of the container's own.
 */
export class Kubelet implements AsyncDisposable {
  readonly name: string;
  readonly #options: KubeletOptions;
  readonly #directory: string;
  readonly #keepers = new Map<string, PodKeeper>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #processes = new Set<ContainerProcess>();
  readonly #pulls = new Map<string, { tries: number; isPresent: boolean }>();
  readonly #subscription: Disposable;
  #frozen: PromiseWithResolvers<void> | undefined;
  #memoryTimer: NodeJS.Timeout | undefined;
  #isDisposed = false;

  constructor(options: KubeletOptions) {
    this.name = options.name;
    this.#options = options;
    this.#directory = mkdtempSync(join(tmpdir(), "kubelet-"));
    // Containers of other users look into it.
    chmodSync(this.#directory, 0o755);
    mkdirSync(join(this.#directory, "pods"));
    this.#subscription = options.objects.subscribe((change) => this.#hear(change));
    for (const pod of options.objects.list("pods")) this.#adopt(pod);
  }

  get isFrozen(): boolean {
    return this.#frozen !== undefined;
  }

  /** From now on it says nothing, sees nothing and starts nothing; its containers go on. */
  freeze(): void {
    this.#frozen ??= Promise.withResolvers<void>();
  }

  /** Tells the state of every pod again and goes on where it stopped. */
  thaw(): void {
    const frozen = this.#frozen;
    if (frozen === undefined) return;
    this.#frozen = undefined;
    for (const keeper of this.#keepers.values()) keeper.repost();
    frozen.resolve();
    for (const pod of this.#options.objects.list("pods")) this.#adopt(pod);
    for (const [uid] of this.#keepers) this.#follow(uid);
  }

  /** All that runs here is dead at once, as when the machine loses its power. */
  killAll(): void {
    for (const keeper of this.#keepers.values()) keeper.kill();
  }

  /** Ends a pod for want of something on the node, as `Evicted`. */
  evict(where: Where, message = "The node was low on resource: memory. "): void {
    const keeper = this.#find(where);
    if (keeper === undefined) throw new Error(`no pod ${where.name} on ${this.name}`);
    this.#options.objects.mutate("pods", where, (pod) => {
      const condition = {
        type: "DisruptionTarget",
        status: "True",
        lastTransitionTime: timestamp(),
        reason: "TerminationByKubelet",
        message,
      };
      pod.status = { ...pod.status, conditions: [...(pod.status?.conditions ?? []), condition] };
    });
    keeper.condemn({
      reason: "Evicted",
      message,
      note: { type: "Warning", reason: "Evicted", message },
    });
  }

  /** What a container wrote; undefined if it never ran here. */
  readLog(
    where: Where,
    container: string,
    query: LogQuery & { readonly previous?: boolean } = {},
    signal?: AbortSignal,
  ): AsyncIterable<Buffer> | undefined {
    return this.log(where, container, query.previous === true ? 1 : 0)?.read(query, signal);
  }

  log(where: Where, container: string, age = 0): ContainerLog | undefined {
    return this.#find(where)?.logs.get(container)?.[age];
  }

  /** While it runs. */
  process(where: Where, container: string): ContainerProcess | undefined {
    return this.#find(where)?.processOf(container);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#subscription[Symbol.dispose]();
    this.#frozen?.resolve();
    this.#frozen = undefined;
    for (const keeper of this.#keepers.values()) keeper.requestStop(0);
    await Promise.allSettled(this.#running.values());
    clearInterval(this.#memoryTimer);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #hear({ resource, type, object }: Change): void {
    if (resource === "pods" && type === "DELETED") {
      this.#keepers.get(object.metadata.uid)?.requestStop(undefined);
      this.#forget(object.metadata.uid);
    }
    if (this.isFrozen) return;
    if (resource === "pods" && type !== "DELETED") {
      this.#adopt(object);
      this.#follow(object.metadata.uid);
    }
    if ((resource === "secrets" || resource === "configmaps") && type === "MODIFIED") {
      const { name, namespace } = object.metadata;
      for (const keeper of this.#keepers.values()) {
        if (keeper.pod.metadata.namespace !== namespace) continue;
        keeper.refresh((volume) => volumeUses(volume, resource, name));
      }
    }
  }

  #adopt(pod: Pod): void {
    const { uid } = pod.metadata;
    if (specOf(pod).nodeName !== this.name || this.#keepers.has(uid) || isFinal(pod)) return;
    const { objects, name: host } = this.#options;
    const keeper = new PodKeeper(pod, {
      ...this.#options,
      directory: this.#directory,
      pulls: this.#pulls,
      awake: async () => this.#frozen?.promise,
      note: (about, note) => recordEvent(objects, about, { ...note, component: "kubelet", host }),
      track: (process) => this.#track(process),
    });
    this.#keepers.set(uid, keeper);
    // The storage tells its changes one after another; a keeper writes after that.
    const running = Promise.resolve().then(() => keeper.run());
    this.#running.set(uid, running);
    void running.finally(() => {
      this.#running.delete(uid);
      this.#forget(uid);
    });
  }

  /** Sees whether a pod is to go. */
  #follow(uid: string): void {
    const keeper = this.#keepers.get(uid);
    if (keeper === undefined) return;
    const { name, namespace } = keeper.pod.metadata;
    const pod = this.#options.objects.get("pods", name, namespace);
    if (pod?.metadata.uid !== uid || pod.metadata.deletionTimestamp === undefined) return;
    keeper.requestStop(pod.metadata.deletionGracePeriodSeconds);
  }

  /** What is left of a pod goes once it has ended and is no longer in the API: until then its log can be read. */
  #forget(uid: string): void {
    const keeper = this.#keepers.get(uid);
    if (keeper === undefined || this.#running.has(uid)) return;
    const { name, namespace } = keeper.pod.metadata;
    if (this.#options.objects.get("pods", name, namespace)?.metadata.uid === uid) return;
    this.#keepers.delete(uid);
    rmSync(join(this.#directory, "pods", uid), { recursive: true, force: true });
  }

  #find({ name, namespace }: Where): PodKeeper | undefined {
    const pod = this.#options.objects.get("pods", name, namespace);
    return pod === undefined ? undefined : this.#keepers.get(pod.metadata.uid);
  }

  #track(process: ContainerProcess): void {
    this.#processes.add(process);
    void process.ended.finally(() => {
      this.#processes.delete(process);
      if (this.#processes.size > 0) return;
      clearInterval(this.#memoryTimer);
      this.#memoryTimer = undefined;
    });
    this.#memoryTimer ??= setInterval(() => this.#look(), this.#options.timings.memoryMs);
    this.#memoryTimer.unref();
  }

  #look(): void {
    const all = listProcesses();
    for (const process of this.#processes) process.look(all);
  }
}
