import type { DockerConfig } from "./config.ts";
import { type Engine, statusOf, unlessMissing } from "./engine.ts";
import { keys } from "./names.ts";

/** The bridge that workers are on. One that exists is taken as it is; it belongs to all servers of an engine, and is left when they go. */
export class WorkerNetwork {
  readonly #engine: Engine;
  readonly #name: string;
  #ready: Promise<void> | undefined;

  constructor(engine: Engine, { network }: DockerConfig) {
    this.#engine = engine;
    this.#name = network;
  }

  /** Makes it on first use. */
  async ensure(): Promise<void> {
    this.#ready ??= this.#make().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }

  /** It is not there any more: the next start makes it again. */
  forget(): void {
    this.#ready = undefined;
  }

  async #make(): Promise<void> {
    const { calls } = this.#engine;
    if ((await unlessMissing(calls.getNetwork(this.#name).inspect())) !== undefined) return;
    try {
      await calls.createNetwork({
        Name: this.#name,
        Driver: "bridge",
        CheckDuplicate: true,
        // Workers of different tenants do not see each other.
        Options: { "com.docker.network.bridge.enable_icc": "false" },
        Labels: { [keys.managed]: "true" },
      });
    } catch (error) {
      // Another server was first.
      if (statusOf(error) !== 409) throw error;
    }
  }
}
