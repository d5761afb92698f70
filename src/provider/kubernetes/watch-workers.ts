import type { CoreV1Event, V1Pod } from "@kubernetes/client-node";
import { isWorkerId, type WorkerId } from "#job/id.ts";
import type { ProviderEvent } from "#provider/provider.ts";
import type { Deletion, GraceMs } from "./classify.ts";
import { noFacts, type PodFacts, withEvent } from "./classify-facts.ts";
import type { Latency } from "./latency.ts";
import { keys } from "./names.ts";
import { type PodTally, tallyPods } from "./pod-tally.ts";
import { Intents } from "./watch-intents.ts";
import { WatchedWorker } from "./watch-worker.ts";

export interface WorkersOptions {
  readonly graceMs: GraceMs;
  readonly defaultImages: ReadonlySet<string>;
  readonly latency: Latency | undefined;
  readonly uncertainMs: number;
  readonly stageDelayMs: number;
  readonly tell: (event: ProviderEvent) => void;
  /** A pod is not there any more. */
  readonly onLeave?: (() => void) | undefined;
}

/** Events of pods that were not seen yet. */
const mostEarly = 2_000;
/** A healthy node needs so long beyond a pod's own grace to end one that was removed by force. */
const forcedMs = 5_000;

/** Every worker whose pod is there. Nothing is kept of those that are gone, but for a while the uids whose end is uncertain. */
export class WatchedWorkers {
  readonly #options: WorkersOptions;
  readonly #intents = new Intents();
  readonly #byId = new Map<WorkerId, WatchedWorker>();
  readonly #byUid = new Map<string, WatchedWorker>();
  readonly #early = new Map<string, PodFacts>();
  readonly #uncertain = new Map<string, ReturnType<typeof setTimeout>>();

  constructor(options: WorkersOptions) {
    this.#options = options;
  }

  see(pod: V1Pod): void {
    const id = pod.metadata?.labels?.[keys.workerId] ?? "";
    const uid = pod.metadata?.uid ?? "";
    if (!isWorkerId(id) || uid === "") return;
    const known = this.#byUid.get(uid) ?? this.#meet(id, pod);
    known.see(pod);
  }

  hear(event: CoreV1Event): void {
    const uid = event.involvedObject.uid ?? "";
    const known = this.#byUid.get(uid);
    if (known !== undefined) {
      known.hear((facts) => withEvent(facts, event));
      return;
    }
    if (uid === "" || !podsOf(event)) return;
    const before = this.#early.get(uid) ?? noFacts;
    const after = withEvent(before, event);
    if (after === before) return;
    this.#early.set(uid, after);
    const [oldest] = this.#early.keys();
    if (this.#early.size > mostEarly && oldest !== undefined) this.#early.delete(oldest);
  }

  deleted(pod: V1Pod): void {
    const known = this.#byUid.get(pod.metadata?.uid ?? "");
    if (known === undefined) return;
    known.see(pod);
    this.#leave(known, { wasSeen: true });
  }

  /** A list of that namespace, or of the whole cluster, is complete. */
  keepOnly(namespace: string | undefined, uids: ReadonlySet<string>): void {
    for (const known of this.#byUid.values()) {
      if (namespace !== undefined && known.namespace !== namespace) continue;
      if (!uids.has(known.uid)) this.#leave(known, { wasSeen: false });
    }
  }

  find(id: WorkerId): WatchedWorker | undefined {
    return this.#byId.get(id);
  }

  get count(): number {
    return [...this.#byUid.values()].filter(({ isRunning }) => isRunning).length;
  }

  tally(): PodTally {
    return tallyPods([...this.#byUid.values()].map(({ pod }) => pod));
  }

  standing(): readonly ProviderEvent[] {
    return [...this.#byUid.values()].flatMap((known) => known.standing());
  }

  expectStart(id: WorkerId): void {
    this.#intents.add(id, { startedAt: performance.now() });
  }

  noteConnected(id: WorkerId): void {
    this.#intents.add(id, { isConnected: true });
    this.#byId.get(id)?.connected();
  }

  expectGone(id: WorkerId): void {
    this.#intents.add(id, { isGoneExpected: true });
  }

  isEndUncertain(uid: string): boolean {
    return this.#uncertain.has(uid);
  }

  dispose(): void {
    for (const known of this.#byUid.values()) known.dispose();
    for (const timer of this.#uncertain.values()) clearTimeout(timer);
    this.#uncertain.clear();
  }

  #meet(id: WorkerId, pod: V1Pod): WatchedWorker {
    const { graceMs, defaultImages, latency, stageDelayMs, tell } = this.#options;
    const known = new WatchedWorker(
      {
        graceMs,
        defaultImages,
        latency,
        intents: this.#intents,
        now: () => performance.now(),
        stageDelayMs,
        tell,
      },
      id,
      pod,
    );
    this.#byId.set(id, known);
    this.#byUid.set(known.uid, known);
    const early = this.#early.get(known.uid);
    this.#early.delete(known.uid);
    if (early !== undefined) known.hear(() => early);
    return known;
  }

  #leave(known: WatchedWorker, how: Deletion): void {
    this.#byUid.delete(known.uid);
    this.#options.onLeave?.();
    if (this.#byId.get(known.id) === known) this.#byId.delete(known.id);
    const { isGoneExpected } = this.#intents.get(known.id);
    // The kubelet lets go of a pod only once its containers have ended. A removal by force, or by those who gave its node up, does not wait for that.
    const isOpen = known.isOpen && (known.isNodeLost || isGoneExpected !== true);
    if (!isOpen) {
      known.deleted(how);
      this.#forget(known);
      return;
    }
    const waitMs = known.isNodeLost ? this.#options.uncertainMs : known.graceMs + forcedMs;
    known.lost(how);
    const timer = setTimeout(() => {
      this.#uncertain.delete(known.uid);
      known.deleted(how);
      this.#forget(known);
    }, waitMs);
    this.#uncertain.set(known.uid, timer);
  }

  #forget(known: WatchedWorker): void {
    if (!this.#byId.has(known.id)) this.#intents.delete(known.id);
    known.dispose();
  }
}

const workerPod = /^hodei-worker-/;

/** Whether the event is about a pod that may be a worker's. */
export function podsOf({ involvedObject }: CoreV1Event): boolean {
  return workerPod.test(involvedObject.name ?? "");
}
