import { HodeiError } from "#error.ts";
import type { WorkerId } from "#job/id.ts";
import type { Resources } from "#job/job.ts";
import type {
  Capacity,
  Health,
  ListedWorker,
  Provider,
  ProviderCapabilities,
  ProviderEvent,
  StartedWorker,
  WorkerSpec,
} from "#provider/provider.ts";
import type { WorkerClass } from "#worker/class.ts";

/** Opens what stands behind a record, as it is now. */
export type OpenProvider = () => Promise<Provider>;

const retryMs = 15_000;

/**
 * A provider that may not be there yet, and whose insides may be replaced while its workers live: unhealthy until it could be opened, which is tried again when
 * it is asked how it is.
 */
export class LateProvider implements Provider {
  readonly name: string;
  readonly type: string;
  #open: OpenProvider;
  #inner: Provider | undefined;
  #problem: string;
  #triedAt = performance.now();
  #opening: Promise<void> | undefined;
  #isOver = false;
  /** Aborted when there is another inside, or none any more. */
  #swapped = new AbortController();

  /** Rejects when it cannot be opened now. */
  static async openNow(
    who: { readonly name: string; readonly type: string },
    open: OpenProvider,
  ): Promise<LateProvider> {
    return new LateProvider(who, open, await open());
  }

  /** What cannot be opened is kept, and its health says why. */
  static async openLate(
    who: { readonly name: string; readonly type: string },
    open: OpenProvider,
  ): Promise<LateProvider> {
    return LateProvider.openNow(who, open).catch(
      (error: unknown) => new LateProvider(who, open, error),
    );
  }

  private constructor(
    { name, type }: { readonly name: string; readonly type: string },
    open: OpenProvider,
    inner: unknown,
  ) {
    this.name = name;
    this.type = type;
    this.#open = open;
    this.#inner = isProvider(inner) ? inner : undefined;
    this.#problem = isProvider(inner) ? "" : problemOf(inner);
  }

  /** What is inside, if it could be opened. */
  get opened(): Provider | undefined {
    return this.#inner;
  }

  /** Puts another inside, which `open` will open from now on, and disposes the one before. */
  async replace(inner: Provider, open: OpenProvider): Promise<void> {
    await this.#opening;
    const before = this.#inner;
    this.#open = open;
    this.#put(inner);
    await before?.[Symbol.asyncDispose]();
  }

  get capabilities(): ProviderCapabilities {
    return this.#inner?.capabilities ?? noCapabilities;
  }

  refusalOf(workerClass: WorkerClass): string | undefined {
    return this.#inner?.refusalOf(workerClass);
  }

  resourceName(workerId: WorkerId): string {
    return this.#inner?.resourceName(workerId) ?? `hodei-${workerId}`;
  }

  async startWorker(spec: WorkerSpec, signal: AbortSignal): Promise<StartedWorker> {
    return this.#get().startWorker(spec, signal);
  }

  async stopWorker(id: WorkerId, graceMs: number): Promise<void> {
    await this.#get().stopWorker(id, graceMs);
  }

  async listWorkers(): Promise<readonly ListedWorker[]> {
    return this.#get().listWorkers();
  }

  async confirmDead(id: WorkerId, uid: string | undefined): Promise<"dead" | "alive" | "unknown"> {
    return this.#inner === undefined ? "unknown" : this.#inner.confirmDead(id, uid);
  }

  async *watch(signal: AbortSignal): AsyncGenerator<ProviderEvent, void, undefined> {
    while (!signal.aborted && !this.#isOver) {
      const swapped = this.#swapped.signal;
      const until = AbortSignal.any([signal, swapped]);
      if (this.#inner === undefined) await aborted(until);
      else {
        yield* this.#inner.watch(until);
        if (!swapped.aborted) return;
      }
    }
  }

  async forgetToken(id: WorkerId): Promise<void> {
    await this.#inner?.forgetToken?.(id);
  }

  async attest(
    worker: { readonly id: WorkerId; readonly uid: string },
    token: string,
  ): Promise<boolean> {
    const inner = this.#get();
    return inner.attest === undefined ? false : inner.attest(worker, token);
  }

  async readTail(id: WorkerId, uid: string): Promise<Uint8Array | undefined> {
    return this.#inner?.readTail?.(id, uid);
  }

  async health(): Promise<Health> {
    if (this.#inner === undefined && performance.now() - this.#triedAt >= retryMs) {
      this.#opening ??= this.#tryAgain().finally(() => {
        this.#opening = undefined;
      });
      await this.#opening;
    }
    return this.#inner?.health() ?? { state: "unhealthy", reason: this.#problem };
  }

  capacity(workerClass?: WorkerClass): Capacity {
    return this.#inner?.capacity(workerClass) ?? { maxWorkers: 0 };
  }

  pricePerHour(resources: Resources): number {
    return this.#inner?.pricePerHour(resources) ?? 0;
  }

  startEstimateMs(): number {
    return this.#inner?.startEstimateMs() ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    await this.#opening;
    const inner = this.#inner;
    this.#put(undefined);
    this.#problem = "is closed";
    await inner?.[Symbol.asyncDispose]();
  }

  async #tryAgain(): Promise<void> {
    this.#triedAt = performance.now();
    try {
      const inner = await this.#open();
      if (this.#isOver) await inner[Symbol.asyncDispose]();
      else this.#put(inner);
    } catch (error) {
      this.#problem = problemOf(error);
    }
  }

  #put(inner: Provider | undefined): void {
    this.#inner = inner;
    const before = this.#swapped;
    this.#swapped = new AbortController();
    before.abort();
  }

  #get(): Provider {
    if (this.#inner !== undefined) return this.#inner;
    throw new HodeiError("unavailable", `provider ${this.name} is not open: ${this.#problem}`);
  }
}

const noCapabilities: ProviderCapabilities = {
  survivesRestart: true,
  memoryLimit: false,
  cpuLimit: false,
  images: false,
  gpu: false,
  bindsTenant: false,
  bindsJob: false,
};

function isProvider(value: unknown): value is Provider {
  return typeof value === "object" && value !== null && "startWorker" in value;
}

function problemOf(error: unknown): string {
  return `cannot be opened: ${error instanceof Error ? error.message : String(error)}`;
}

function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  else signal.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}
