import type { AttemptId } from "#job/id.ts";
import type { LogLink } from "./link.ts";

/** When a log ended, and when it expires. */
interface Note {
  readonly endedAt: number;
  readonly expiresAt: number;
}

/** What a server may have lost when another took its place is younger than this. */
const keptMs = 60_000;
const mostKept = 10_000;

/**
 * Notes which logs have ended, so that they are sealed and deleted some time. In a cluster the end of a log is on one server and its note on another, which may
 * lose it in a failover: what was noted of late is noted again then.
 */
export class Notes {
  readonly #link: LogLink;
  /** With the time that it was noted at, oldest first. */
  readonly #kept = new Map<AttemptId, Note & { readonly at: number }>();
  #connection: string | undefined;

  constructor(link: LogLink) {
    this.#link = link;
  }

  /** What was noted first stays. */
  async note(attempt: AttemptId, note: Note): Promise<void> {
    if (this.#link.lanes.isSpread) this.#keep(attempt, note);
    await this.#write(attempt, note);
  }

  /** Notes again what may have been lost. To be called every now and then. */
  async refresh(): Promise<void> {
    const { lanes, shared } = this.#link;
    if (!lanes.isSpread) return;
    const before = performance.now() - keptMs;
    for (const [attempt, { at }] of this.#kept) if (at < before) this.#kept.delete(attempt);
    const { connection } = lanes.of(lanes.slotOf(shared.ended));
    if (connection === this.#connection) return;
    if (this.#connection !== undefined) {
      await Promise.all([...this.#kept].map(([attempt, note]) => this.#write(attempt, note)));
    }
    this.#connection = connection;
  }

  #keep(attempt: AttemptId, note: Note): void {
    if (this.#kept.has(attempt)) return;
    const [oldest] = this.#kept.keys();
    if (oldest !== undefined && this.#kept.size >= mostKept) this.#kept.delete(oldest);
    this.#kept.set(attempt, { ...note, at: performance.now() });
  }

  async #write(attempt: AttemptId, { endedAt, expiresAt }: Note): Promise<void> {
    const { shared } = this.#link;
    await Promise.all([
      this.#link.writeDurably("ZADD", shared.expiry, "NX", expiresAt, attempt),
      this.#link.writeDurably("ZADD", shared.ended, "NX", endedAt, attempt),
    ]);
  }
}
