import type { Failure } from "#job/failure.ts";
import type { WorkerId } from "#job/id.ts";
import {
  type Health,
  type ListedWorker,
  type Provider,
  type ProviderCapabilities,
  type ProviderEvent,
  StartError,
  type WorkerSpec,
} from "#provider/provider.ts";

export interface ScriptedOptions {
  readonly name?: string;
  readonly type?: string;
  readonly maxWorkers?: number;
  readonly pricePerHour?: number;
  readonly startEstimateMs?: number;
  readonly bindsTenant?: boolean;
  readonly bindsJob?: boolean;
}

/** What the next starts do. `lost`: the worker exists, but the caller is not told. `hang`: no answer until released or aborted. */
export type StartScript =
  | { readonly kind: "ok" }
  | { readonly kind: "fail"; readonly failure: Failure }
  | {
      readonly kind: "lost" | "unknown" | "hang";
    };

interface Resource {
  readonly uid: string;
  readonly spec: WorkerSpec | undefined;
  isRunning: boolean;
}

/** A provider that works, in memory, and does whatever a test asks of it. */
export class ScriptedProvider implements Provider {
  readonly name: string;
  readonly type: string;
  readonly capabilities: ProviderCapabilities;
  readonly resources = new Map<WorkerId, Resource>();
  readonly started: WorkerSpec[] = [];
  readonly stopped: WorkerId[] = [];
  maxWorkers: number;
  state: Health = { state: "healthy", reason: "" };
  /** Why it refuses every class. */
  refusal: string | undefined;
  /** Taken one by one; then all is well. */
  readonly starts: StartScript[] = [];
  /** Instead of the truth. */
  deathAnswer: "dead" | "alive" | "unknown" | undefined;
  /** What workers printed last. */
  tail: () => Promise<string | undefined> = async () => undefined;
  readonly tailsRead: { readonly id: WorkerId; readonly uid: string }[] = [];
  readonly forgotten: WorkerId[] = [];
  /** What `stopWorker` throws. */
  stopError: Error | undefined;
  readonly #options: ScriptedOptions;
  readonly #events: ProviderEvent[] = [];
  readonly #watchers = new Set<() => void>();
  readonly #hanging = new Set<() => void>();
  #uids = 0;

  constructor(options: ScriptedOptions = {}) {
    this.#options = options;
    this.name = options.name ?? "scripted";
    this.type = options.type ?? "scripted";
    this.maxWorkers = options.maxWorkers ?? 10;
    this.capabilities = {
      survivesRestart: true,
      memoryLimit: true,
      cpuLimit: true,
      images: true,
      gpu: false,
      bindsTenant: options.bindsTenant ?? false,
      bindsJob: options.bindsJob ?? false,
    };
  }

  refusalOf(): string | undefined {
    return this.refusal;
  }

  resourceName(workerId: WorkerId): string {
    return `hodei-${workerId}`;
  }

  async startWorker(spec: WorkerSpec, signal: AbortSignal) {
    const running = this.resources.get(spec.workerId);
    if (running !== undefined) return { uid: running.uid };
    this.started.push(spec);
    const script = this.starts.shift() ?? { kind: "ok" };
    if (script.kind === "fail") throw new StartError(script.failure);
    if (script.kind === "unknown") throw new Error("connection reset");
    if (script.kind === "hang") await this.#hang(signal);
    const uid = this.#create(spec.workerId, spec);
    if (script.kind === "lost") throw new Error("the answer was lost");
    return { uid };
  }

  async stopWorker(id: WorkerId): Promise<void> {
    if (this.stopError !== undefined) throw this.stopError;
    this.stopped.push(id);
    this.resources.delete(id);
  }

  async listWorkers(): Promise<readonly ListedWorker[]> {
    return Array.from(this.resources, ([id, { uid, isRunning }]) => ({ id, uid, isRunning }));
  }

  async confirmDead(id: WorkerId, uid: string | undefined) {
    if (this.deathAnswer !== undefined) return this.deathAnswer;
    const resource = this.resources.get(id);
    if (resource === undefined || !resource.isRunning) return "dead";
    return uid === undefined || resource.uid === uid ? "alive" : "dead";
  }

  async *watch(signal: AbortSignal): AsyncGenerator<ProviderEvent, void, undefined> {
    const inbox: ProviderEvent[] = [...this.#events];
    let wake: () => void = () => undefined;
    const push = (): void => {
      const event = this.#events.at(-1);
      if (event !== undefined) inbox.push(event);
      wake();
    };
    const stop = (): void => wake();
    this.#watchers.add(push);
    signal.addEventListener("abort", stop);
    try {
      while (!signal.aborted) {
        const event = inbox.shift();
        if (event !== undefined) yield event;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      this.#watchers.delete(push);
      signal.removeEventListener("abort", stop);
    }
  }

  async health(): Promise<Health> {
    return this.state;
  }

  async readTail(id: WorkerId, uid: string): Promise<Uint8Array | undefined> {
    this.tailsRead.push({ id, uid });
    const text = await this.tail();
    return text === undefined ? undefined : new TextEncoder().encode(text);
  }

  async forgetToken(id: WorkerId): Promise<void> {
    this.forgotten.push(id);
  }

  capacity() {
    return { maxWorkers: this.maxWorkers };
  }

  pricePerHour(): number {
    return this.#options.pricePerHour ?? 0;
  }

  startEstimateMs(): number {
    return this.#options.startEstimateMs ?? 100;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }

  /** A worker of an earlier server. */
  addStranger(id: WorkerId): void {
    this.#create(id, undefined);
  }

  /** Its resource is there, but what ran in it has ended, or nothing is left of it. */
  kill(id: WorkerId, how: "ended" | "gone" = "gone"): void {
    const resource = this.resources.get(id);
    if (resource === undefined) throw new Error(`${id} does not run`);
    if (how === "gone") this.resources.delete(id);
    else resource.isRunning = false;
  }

  emit(event: ProviderEvent): void {
    this.#events.push(event);
    for (const push of this.#watchers) push();
  }

  /** Lets the starts that hang go on. */
  release(): void {
    for (const resolve of this.#hanging) resolve();
    this.#hanging.clear();
  }

  async #hang(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#hanging.add(resolve);
      signal.addEventListener("abort", () => reject(new Error("aborted")), { once: true });
    });
  }

  #create(id: WorkerId, spec: WorkerSpec | undefined): string {
    this.#uids += 1;
    const uid = `${this.name}-${this.#uids}`;
    this.resources.set(id, { uid, spec, isRunning: true });
    return uid;
  }
}
