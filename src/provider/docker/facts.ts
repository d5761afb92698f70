import type { Health } from "#provider/provider.ts";
import type { DockerConfig } from "./config.ts";
import type { EngineSize } from "./container.ts";
import { type Engine, unlessMissing, wordsOf } from "./engine.ts";

const askMs = 5_000;
const refreshMs = 60_000;
/** Without a memory limit of their own, workers are counted as this large. */
const plainWorkerBytes = 2 ** 30;
const mostWorkers = 1_000;

interface EngineInfo {
  readonly NCPU?: number;
  readonly MemTotal?: number;
  readonly MemoryLimit?: boolean;
  readonly CpuCfsQuota?: boolean;
}

/** What the engine says of itself, asked now and then. */
export class EngineFacts {
  readonly #engine: Engine;
  readonly #config: DockerConfig;
  #info: EngineInfo | undefined;
  #lacksImage = false;
  #askedAt = -Infinity;

  constructor(engine: Engine, config: DockerConfig) {
    this.#engine = engine;
    this.#config = config;
  }

  /** Undefined as long as the engine has not answered. */
  get size(): EngineSize | undefined {
    const { NCPU: cpus, MemTotal: memoryBytes } = this.#info ?? {};
    return cpus === undefined || memoryBytes === undefined ? undefined : { cpus, memoryBytes };
  }

  /** What the engine's kernel can limit. */
  get limits(): { readonly memoryLimit: boolean; readonly cpuLimit: boolean } {
    const { MemoryLimit: memoryLimit = true, CpuCfsQuota: cpuLimit = true } = this.#info ?? {};
    return { memoryLimit, cpuLimit };
  }

  get maxWorkers(): number {
    const { maxWorkers, defaultMemoryBytes, agentMemoryBytes } = this.#config;
    if (maxWorkers > 0) return maxWorkers;
    const each = (defaultMemoryBytes || plainWorkerBytes) + agentMemoryBytes;
    const room = Math.floor((this.size?.memoryBytes ?? each) / each);
    return Math.min(Math.max(1, room), mostWorkers);
  }

  async refresh(): Promise<void> {
    const { calls } = this.#engine;
    this.#info = (await within(calls.info())) as EngineInfo;
    const { image, pullPolicy } = this.#config;
    const found =
      pullPolicy === "never" ? await unlessMissing(within(calls.getImage(image).inspect())) : {};
    this.#lacksImage = found === undefined;
    this.#askedAt = performance.now();
  }

  async health(): Promise<Health> {
    try {
      if (performance.now() - this.#askedAt > refreshMs || this.#lacksImage) await this.refresh();
      else await within(this.#engine.calls.ping());
    } catch (error) {
      return { state: "unhealthy", reason: `the engine does not answer: ${wordsOf(error)}` };
    }
    if (this.#lacksImage) {
      const reason = `the engine lacks image ${this.#config.image}, which may not be pulled`;
      return { state: "degraded", reason };
    }
    if (!this.limits.memoryLimit) {
      return { state: "degraded", reason: "the engine's kernel cannot limit memory" };
    }
    return { state: "healthy", reason: "" };
  }
}

/** An engine that hangs is given up by whoever asks, not by the call. */
async function within<T>(call: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer in ${askMs} ms`)), askMs);
  try {
    return await Promise.race([call, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
