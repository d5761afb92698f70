import type { WorkerId } from "#job/id.ts";

/** What was seen of a container that lives, and that inspecting it afterwards does not tell. */
export interface Trace {
  readonly workerId: WorkerId;
  /** Undefined for one that an earlier server started. */
  hasConnected: boolean | undefined;
  wasOutOfMemory: boolean;
  /** The last signal that somebody sent by the engine. */
  sentSignal: number | undefined;
  /** This server stops it, so its end is no failure. */
  isStopping: boolean;
  isExpired: boolean;
  /** When its start began, monotonic; undefined for one that an earlier server started. */
  readonly startedAt: number | undefined;
}

const mostOver = 10_000;

/** Containers by id, as long as they live, and those that were buried. */
export class Traces {
  readonly #live = new Map<string, Trace>();
  readonly #over = new Set<string>();

  /** Notes a container, and answers what is known of it. */
  of(containerId: string, workerId: WorkerId, startedAt?: number): Trace {
    const found = this.#live.get(containerId);
    if (found !== undefined) return found;
    const trace = {
      workerId,
      hasConnected: startedAt === undefined ? undefined : false,
      wasOutOfMemory: false,
      sentSignal: undefined,
      isStopping: false,
      isExpired: false,
      startedAt,
    };
    if (!this.#over.has(containerId)) this.#live.set(containerId, trace);
    return trace;
  }

  find(containerId: string): Trace | undefined {
    return this.#live.get(containerId);
  }

  findWorker(workerId: WorkerId): Trace | undefined {
    return [...this.#live.values()].find((trace) => trace.workerId === workerId);
  }

  list(): readonly (readonly [string, Trace])[] {
    return [...this.#live];
  }

  /** Whether this is the first time that somebody says so. */
  end(containerId: string): boolean {
    this.#live.delete(containerId);
    if (this.#over.has(containerId)) return false;
    this.#over.add(containerId);
    const [oldest] = this.#over;
    if (this.#over.size > mostOver && oldest !== undefined) this.#over.delete(oldest);
    return true;
  }

  isOver(containerId: string): boolean {
    return this.#over.has(containerId);
  }
}
