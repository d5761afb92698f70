import type { V1Pod } from "@kubernetes/client-node";
import { type Stage, stages } from "#job/failure.ts";
import type { WorkerId } from "#job/id.ts";
import type { ProviderEvent } from "#provider/provider.ts";
import {
  classify,
  type Context,
  type Deletion,
  endOfDeleted,
  type GraceMs,
  type Sight,
  type Trouble,
  type TroubleKind,
} from "./classify.ts";
import { noFacts, type PodFacts } from "./classify-facts.ts";
import { imageOf, statusOf } from "./classify-pod.ts";
import type { Latency, StartPhase } from "./latency.ts";
import type { Intents } from "./watch-intents.ts";

/** What the workers of one watch share. */
export interface WorkerGround {
  readonly graceMs: GraceMs;
  readonly defaultImages: ReadonlySet<string>;
  readonly intents: Intents;
  readonly latency: Latency | undefined;
  readonly now: () => number;
  /** A stage that does not stand for so long is not told: fast starts are many, and each telling costs a write. */
  readonly stageDelayMs: number;
  readonly tell: (event: ProviderEvent) => void;
}

/** So often a trouble is told again when the cluster finds other words for it. */
const mostRetold = 10;

/** One worker's pod through its life: each stage, trouble and end is told once. */
export class WatchedWorker {
  readonly id: WorkerId;
  readonly uid: string;
  readonly #ground: WorkerGround;
  #pod: V1Pod;
  #facts: PodFacts = noFacts;
  #hasRun = false;
  #stage: Sight["stage"];
  #stageTold: ReturnType<typeof setTimeout> | undefined;
  #stopping: Sight["stopping"];
  #end: Sight["end"];
  #trouble: Trouble | undefined;
  #retold = 0;
  /** When each kind of trouble was first seen: what comes and goes keeps its first time. */
  readonly #since = new Map<TroubleKind, number>();
  #definite: ReturnType<typeof setTimeout> | undefined;
  /** When the phase under way began, of a start that was seen from its beginning. */
  #phase: { readonly name: StartPhase | "over"; readonly since: number } | undefined;

  constructor(ground: WorkerGround, id: WorkerId, pod: V1Pod) {
    this.#ground = ground;
    this.id = id;
    this.uid = pod.metadata?.uid ?? "";
    this.#pod = pod;
    const { startedAt } = ground.intents.get(id);
    if (startedAt !== undefined) this.#phase = { name: "schedule", since: startedAt };
  }

  /** As it was last seen, without what nobody here looks at. */
  get pod(): V1Pod {
    return this.#pod;
  }

  get namespace(): string {
    return this.#pod.metadata?.namespace ?? "";
  }

  get isRunning(): boolean {
    return this.#end === undefined;
  }

  /** Whether its node may still run something of it, for all that was seen: nobody has said that its container ended. */
  get isOpen(): boolean {
    return this.#end === undefined && this.#pod.spec?.nodeName !== undefined;
  }

  get isNodeLost(): boolean {
    return statusOf(this.#pod).isNodeLost;
  }

  get graceMs(): number {
    return (this.#pod.spec?.terminationGracePeriodSeconds ?? 30) * 1000;
  }

  see(pod: V1Pod): void {
    this.#pod = slim(pod);
    this.#judge();
  }

  hear(facts: (before: PodFacts) => PodFacts): void {
    const after = facts(this.#facts);
    if (after === this.#facts) return;
    this.#facts = after;
    this.#judge();
  }

  /** The agent has dialled back. */
  connected(): void {
    // Where the watch is behind, what it has not shown yet took no time that anybody could tell.
    if (this.#phase !== undefined && this.#phase.name !== "over") {
      if (this.#phase.name !== "connect") this.#enter("connect");
      this.#enter("over");
    }
    this.#dropStage();
    this.#judge();
  }

  /** The pod is no more, and so is the worker. */
  deleted(how: Deletion): void {
    if (this.#end !== undefined) return;
    this.#tellEnd(endOfDeleted(this.#pod, this.#context, how));
  }

  /** The pod is no more, but whether its containers have ended nobody knows. */
  lost(how: Deletion): void {
    this.dispose();
    const { failure } = endOfDeleted(this.#pod, this.#context, how);
    if (failure === undefined || !this.isNodeLost) return;
    this.#ground.tell({ kind: "failed", workerId: this.id, failure, canPass: true });
  }

  /** How it stands, as it was told. */
  standing(): readonly ProviderEvent[] {
    const workerId = this.id;
    if (this.#end !== undefined) {
      return [{ kind: "gone", workerId, failure: this.#excused(this.#end.failure) }];
    }
    const events: ProviderEvent[] = [];
    if (this.#stage !== undefined) events.push({ kind: "stage", workerId, ...this.#stage });
    if (this.#trouble !== undefined) {
      const canPass = this.#leftMs(this.#trouble.kind) > 0;
      events.push({ kind: "failed", workerId, failure: this.#trouble.failure, canPass });
    }
    if (this.#stopping !== undefined) {
      events.push({ kind: "stopping", workerId, ...this.#stopping });
    }
    return events;
  }

  /** Nothing waits to be told any more. */
  dispose(): void {
    this.#clear();
    this.#dropStage();
  }

  get #context(): Context {
    const { intents, defaultImages } = this.#ground;
    const { startedAt, isConnected } = intents.get(this.id);
    return {
      facts: this.#facts,
      hasRun: this.#hasRun,
      isConnected: isConnected ?? (startedAt === undefined ? undefined : false),
      defaultImages,
    };
  }

  get #isGoneExpected(): boolean {
    return this.#ground.intents.get(this.id).isGoneExpected === true;
  }

  #judge(): void {
    if (this.#end !== undefined) return;
    const { isConnected } = this.#ground.intents.get(this.id);
    const isRunning = statusOf(this.#pod).worker?.state?.running !== undefined;
    this.#hasRun ||= isRunning || isConnected === true;
    const sight = classify(this.#pod, this.#context);
    this.#measure();
    if (sight.end !== undefined) {
      this.#tellEnd(sight.end);
      return;
    }
    if (sight.trouble === undefined) this.#tellTrouble(undefined);
    this.#tellStage(sight.stage);
    this.#tellTrouble(sight.trouble);
    if (sight.stopping !== undefined && this.#stopping === undefined && !this.#isGoneExpected) {
      this.#stopping = sight.stopping;
      this.#ground.tell({ kind: "stopping", workerId: this.id, ...sight.stopping });
    }
  }

  #tellEnd(end: NonNullable<Sight["end"]>): void {
    this.#end = end;
    this.dispose();
    const failure = this.#excused(end.failure);
    this.#ground.tell({ kind: "gone", workerId: this.id, failure });
  }

  #excused<T>(failure: T): T | undefined {
    return this.#isGoneExpected ? undefined : failure;
  }

  #tellStage(stage: Sight["stage"]): void {
    if (stage === undefined) return;
    if (this.#stage !== undefined && rankOf(stage.stage) <= rankOf(this.#stage.stage)) return;
    this.#stage = stage;
    // The trouble says more.
    if (this.#trouble !== undefined) return;
    const { stageDelayMs } = this.#ground;
    if (stageDelayMs === 0) this.#sayStage();
    else this.#stageTold ??= setTimeout(() => this.#sayStage(), stageDelayMs);
  }

  #sayStage(): void {
    this.#stageTold = undefined;
    if (this.#stage === undefined) return;
    this.#ground.tell({ kind: "stage", workerId: this.id, ...this.#stage });
  }

  /** What is about to be told says more than the stage that waits to be. */
  #dropStage(): void {
    clearTimeout(this.#stageTold);
    this.#stageTold = undefined;
  }

  #tellTrouble(trouble: Trouble | undefined): void {
    const before = this.#trouble;
    this.#trouble = trouble;
    if (trouble === undefined) {
      if (before !== undefined) this.#clear();
      return;
    }
    const { kind, failure } = trouble;
    const isNew = before?.kind !== kind;
    if (!isNew) {
      if (before.failure.message === failure.message || this.#retold >= mostRetold) return;
      this.#retold += 1;
    }
    const isFirst = !this.#since.has(kind);
    if (isFirst) this.#since.set(kind, this.#ground.now());
    if (isNew) this.#arm(kind);
    const canPass = this.#leftMs(kind) > 0;
    // What was told as definite stays so, and is not told again with other words.
    if (!canPass && !isFirst) return;
    this.#dropStage();
    this.#ground.tell({ kind: "failed", workerId: this.id, failure, canPass });
  }

  #leftMs(kind: TroubleKind): number {
    const { graceMs, now } = this.#ground;
    return (this.#since.get(kind) ?? now()) + graceMs[kind] - now();
  }

  /** Tells the trouble as definite once it has stood for its grace. */
  #arm(kind: TroubleKind): void {
    this.#clear();
    const leftMs = this.#leftMs(kind);
    if (!Number.isFinite(leftMs) || this.#ground.graceMs[kind] === 0) return;
    this.#definite = setTimeout(
      () => {
        const trouble = this.#trouble;
        if (trouble === undefined || trouble.kind !== kind) return;
        const { failure } = trouble;
        this.#ground.tell({ kind: "failed", workerId: this.id, failure, canPass: false });
      },
      Math.max(0, leftMs),
    );
  }

  #clear(): void {
    clearTimeout(this.#definite);
    this.#definite = undefined;
  }

  #measure(): void {
    const { worker } = statusOf(this.#pod);
    const hasNode = this.#pod.spec?.nodeName !== undefined;
    const isRunning = worker?.state?.running !== undefined;
    if (this.#phase?.name === "schedule" && hasNode) this.#enter("pull");
    if (this.#phase?.name === "pull" && (this.#facts.isPulled === true || isRunning)) {
      this.#enter("init");
    }
    if (this.#phase?.name === "init" && isRunning) this.#enter("connect");
  }

  #enter(name: StartPhase | "over"): void {
    const { latency, now } = this.#ground;
    const phase = this.#phase;
    if (phase === undefined || phase.name === "over") return;
    latency?.observe(imageOf(this.#pod), phase.name, now() - phase.since);
    this.#phase = { name, since: now() };
  }
}

function rankOf(stage: Stage): number {
  return stages.indexOf(stage);
}

/** What a judgement needs; a pod's whole text is many times larger. */
function slim(pod: V1Pod): V1Pod {
  const { metadata, spec, status } = pod;
  const { managedFields: _, annotations: __, ...kept } = metadata ?? {};
  if (spec === undefined) return { metadata: kept, ...(status === undefined ? {} : { status }) };
  const { nodeName, terminationGracePeriodSeconds, containers, initContainers } = spec;
  const slimmed = (containers ?? []).map(({ name, image, resources }) => ({
    name,
    ...(image === undefined ? {} : { image }),
    ...(resources === undefined ? {} : { resources }),
  }));
  const inits = (initContainers ?? []).map(({ name, image, restartPolicy }) => ({
    name,
    ...(image === undefined ? {} : { image }),
    ...(restartPolicy === undefined ? {} : { restartPolicy }),
  }));
  return {
    metadata: kept,
    spec: {
      containers: slimmed,
      initContainers: inits,
      ...(nodeName === undefined ? {} : { nodeName }),
      ...(terminationGracePeriodSeconds === undefined ? {} : { terminationGracePeriodSeconds }),
    },
    ...(status === undefined ? {} : { status }),
  };
}
