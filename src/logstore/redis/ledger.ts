import type { AttemptId } from "#job/id.ts";
import { toArray, toBuffers, type LogLink } from "./link.ts";
import { segmentBytesOf, type OpenLog } from "./open-log.ts";
import { liveBytes } from "./seal.ts";
import type { WholeView } from "./view.ts";

/** What all logs of all replicas hold, as it was last asked for. */
export interface Sums {
  readonly inRedis: number;
  readonly inArchive: number;
}

/** So many logs are reported with one script. */
const mostAtOnce = 500;
const nothing = ["", 0, 0] as const;

type Holding = readonly [tenant: string, inRedis: number, inArchive: number];

/**
 * What each log holds, and the sums for all and for each tenant, in Redis. A log's holding is set, never added to, so that a report that comes twice, or late,
 * or not at all because its process died, is put right by the next.
 */
export class Ledger {
  readonly #link: LogLink;
  readonly #changed = new Map<AttemptId, OpenLog>();
  sums: Sums = { inRedis: 0, inArchive: 0 };

  constructor(link: LogLink) {
    this.#link = link;
  }

  /** A log has grown. */
  changed(log: OpenLog): void {
    this.#changed.set(log.attempt, log);
  }

  /** Bytes of a tenant's logs, wherever they are. */
  async tenantBytes(tenant: string): Promise<number> {
    const found = await this.#link.write("HGET", this.#link.shared.sums, `t${tenant}`);
    return Number(found ?? 0);
  }

  /** Bytes in Redis of those logs. */
  async bytesOf(attempts: readonly string[]): Promise<number> {
    if (attempts.length === 0) return 0;
    const found = await this.#link.write("HMGET", this.#link.shared.bytes, ...attempts);
    return toBuffers(found).reduce((sum, text) => sum + Number.parseInt(String(text ?? 0), 10), 0);
  }

  /** Reports a log for the last time before others seal it: what came later would be older than what they report. */
  async ending(attempt: AttemptId): Promise<void> {
    const log = this.#changed.get(attempt);
    if (log === undefined) return;
    this.#changed.delete(attempt);
    log.isOver = true;
    await this.#report([[attempt, holdingOf(log)]]);
  }

  async sealed(attempt: AttemptId, view: WholeView): Promise<void> {
    const { inRedis, inArchive } = segmentBytesOf(view);
    await this.#report([[attempt, [view.tenant, liveBytes(view) + inRedis, inArchive]]]);
  }

  async gone(attempt: AttemptId): Promise<void> {
    this.#changed.delete(attempt);
    await this.#report([[attempt, nothing]]);
  }

  /** Reports what has changed, and asks for the sums. */
  async refresh(): Promise<void> {
    const changed = [...this.#changed];
    this.#changed.clear();
    try {
      do {
        const some = changed.slice(0, mostAtOnce).filter(([, log]) => !log.isOver);
        await this.#report(some.map(([attempt, log]) => [attempt, holdingOf(log)]));
        changed.splice(0, mostAtOnce);
      } while (changed.length > 0);
    } catch (error) {
      for (const [attempt, log] of changed) this.#changed.set(attempt, log);
      throw error;
    }
  }

  async #report(holdings: readonly (readonly [AttemptId, Holding])[]): Promise<void> {
    const { shared } = this.#link;
    const answer = await this.#link.run(
      "report",
      [shared.sums, shared.bytes],
      holdings.flatMap(([attempt, holding]) => [attempt, ...holding]),
    );
    const [inRedis = 0, inArchive = 0] = toArray(answer).map(Number);
    this.sums = { inRedis, inArchive };
  }
}

function holdingOf({ tenant, liveBytes: live, segmentBytes }: OpenLog): Holding {
  return [tenant, live + segmentBytes.inRedis, segmentBytes.inArchive];
}
