import { HodeiError } from "#error.ts";
import type { JobId } from "#job/id.ts";
import type { JobEvent } from "#job/job.ts";
import { isFinal } from "#job/state.ts";
import type { JobStore } from "#store/store.ts";
import type { JobWatch } from "./scheduler.ts";

export interface JobWatchOptions {
  readonly store: Pick<JobStore, "findJob" | "listEvents">;
  /** How long a change by another process may stay unseen. */
  readonly pollMs?: number;
}

const pageEvents = 256;

/** Watchers of one job share its polls; each reads the events for itself, a page at a time, so that a slow one costs one page. */
export function createJobWatch(options: JobWatchOptions): JobWatch {
  const { store, pollMs = 2_000 } = options;
  const topics = new Map<JobId, Set<Watcher>>();
  let timer: NodeJS.Timeout | undefined;

  return {
    touch(ids) {
      if (topics.size === 0) return;
      for (const id of ids) wakeAll(topics.get(id));
    },
    follow,
  };

  async function* follow(
    id: JobId,
    afterSequence: number,
    signal: AbortSignal,
  ): AsyncGenerator<JobEvent, void, undefined> {
    const watcher = new Watcher(afterSequence);
    const stop = (): void => watcher.wake();
    add(id, watcher);
    signal.addEventListener("abort", stop, { once: true });
    try {
      while (!signal.aborted) {
        watcher.isWoken = false;
        const events = await store.listEvents(id, watcher.cursor, pageEvents);
        for (const event of events) {
          watcher.cursor = event.sequence;
          yield event;
          if (isFinal(event.state)) return;
        }
        if (events.length > 0) continue;
        const job = await store.findJob(id);
        if (job === undefined) throw new HodeiError("not_found", `there is no job ${id}`);
        if (isFinal(job.state)) {
          // It may have ended between the two looks; what is asked for may also lie behind its last event.
          if ((await store.listEvents(id, watcher.cursor, 1)).length === 0) return;
        } else await watcher.change(signal);
      }
    } finally {
      signal.removeEventListener("abort", stop);
      remove(id, watcher);
    }
  }

  function add(id: JobId, watcher: Watcher): void {
    const topic = topics.get(id);
    if (topic === undefined) topics.set(id, new Set([watcher]));
    else topic.add(watcher);
    timer ??= setTimeout(poll, pollMs).unref();
  }

  function remove(id: JobId, watcher: Watcher): void {
    const topic = topics.get(id);
    topic?.delete(watcher);
    if (topic?.size === 0) topics.delete(id);
  }

  function poll(): void {
    look()
      // A store that cannot be read now is read again in the next round; a watcher that is woken meets the error itself.
      .catch(() => topics.forEach(wakeAll))
      .finally(() => {
        timer = topics.size === 0 ? undefined : setTimeout(poll, pollMs).unref();
      });
  }

  async function look(): Promise<void> {
    for (const [id, topic] of topics) {
      const oldest = Math.min(...Array.from(topic, (watcher) => watcher.cursor));
      const [first] = await store.listEvents(id, oldest, 1);
      if (first !== undefined) wakeAll(topic);
      else if ((await store.findJob(id)) === undefined) wakeAll(topic);
    }
  }
}

class Watcher {
  cursor: number;
  isWoken = false;
  #resume: (() => void) | undefined;

  constructor(cursor: number) {
    this.cursor = cursor;
  }

  wake(): void {
    this.isWoken = true;
    this.#resume?.();
  }

  async change(signal: AbortSignal): Promise<void> {
    if (this.isWoken || signal.aborted) return;
    await new Promise<void>((resolve) => (this.#resume = resolve));
    this.#resume = undefined;
  }
}

function wakeAll(topic: ReadonlySet<Watcher> | undefined): void {
  for (const watcher of topic ?? []) watcher.wake();
}
