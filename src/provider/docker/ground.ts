import { EventEmitter, on } from "node:events";
import type { ProviderEvent } from "#provider/provider.ts";
import type { Logger } from "#telemetry.ts";
import type { DockerConfig } from "./config.ts";
import type { EngineSize } from "./container.ts";
import type { Engine } from "./engine.ts";
import type { Ownership } from "./names.ts";
import type { Tails } from "./tail.ts";
import type { Traces } from "./traces.ts";

/** What the parts of the provider share. */
export interface Ground {
  readonly engine: Engine;
  readonly config: DockerConfig;
  readonly ownership: Ownership;
  readonly env: Readonly<Record<string, string>>;
  readonly log: Logger | undefined;
  readonly feed: Feed;
  readonly traces: Traces;
  readonly tails: Tails;
  readonly size: () => EngineSize | undefined;
}

/** Hands events to everybody who follows. */
export class Feed {
  readonly #emitter = new EventEmitter().setMaxListeners(0);

  add(event: ProviderEvent): void {
    this.#emitter.emit("event", event);
  }

  /** Follows from the call on, not only from the first `next`. */
  follow(signal: AbortSignal): AsyncIterable<ProviderEvent> {
    return untilAborted(on(this.#emitter, "event", { signal, close: ["close"] }), signal);
  }

  close(): void {
    this.#emitter.emit("close");
  }
}

async function* untilAborted(
  events: AsyncIterable<unknown[]>,
  signal: AbortSignal,
): AsyncGenerator<ProviderEvent> {
  try {
    for await (const [event] of events) yield event as ProviderEvent;
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
