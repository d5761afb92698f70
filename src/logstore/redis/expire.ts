import { isAttemptId, type AttemptId } from "#job/id.ts";
import type { Ledger } from "./ledger.ts";
import { toArray, type LogLink } from "./link.ts";
import type { Segments } from "./segments.ts";
import type { WholeView } from "./view.ts";

export interface ExpiryGround {
  readonly link: LogLink;
  readonly segments: Segments;
  readonly ledger: Ledger;
  readonly log: { warn(facts: object, message: string): void };
}

/** Logs that are deleted at the same time, and those that are looked at in one step. */
const atOnce = 16;
const chunk = 200;

/**
 * Deletes the logs that expired before `now`, and gives how many. A log's objects go first and its index last, so that whoever dies between leaves nothing
 * that nobody knows; two at once do no harm.
 */
export async function deleteExpired(ground: ExpiryGround, now: number): Promise<number> {
  const { link } = ground;
  let deleted = 0;
  for (let skipped = 0; ;) {
    const range = ["-inf", now, "LIMIT", skipped, chunk] as const;
    const found = await link.write("ZRANGEBYSCORE", link.shared.expiry, ...range);
    const due = toArray(found).map(String);
    for (let from = 0; from < due.length; from += atOnce) {
      const outcomes = await Promise.all(
        due.slice(from, from + atOnce).map((attempt) => deleteOne(ground, attempt, now)),
      );
      for (const outcome of outcomes) {
        if (outcome === "deleted") deleted++;
        if (outcome === "failed") skipped++;
      }
    }
    if (due.length < chunk) return deleted;
  }
}

async function deleteOne(
  ground: ExpiryGround,
  attempt: string,
  now: number,
): Promise<"deleted" | "other" | "failed"> {
  const { link, log } = ground;
  try {
    if (!isAttemptId(attempt)) {
      await link.write("ZREM", link.shared.expiry, attempt);
      return "other";
    }
    const view = await link.latestView(attempt);
    const expiresAt = view?.end?.expiresAt;
    // What was noted before the end was stored may not be what became of it.
    if (expiresAt !== undefined && expiresAt > now) {
      await link.write("ZADD", link.shared.expiry, expiresAt, attempt);
      return "other";
    }
    const isDeleted = view?.endText !== undefined && (await deleteLog(ground, attempt, view));
    await leave(ground, attempt, view);
    return isDeleted ? "deleted" : "other";
  } catch (error) {
    log.warn({ err: error, attempt }, "an expired log was not deleted yet");
    return "failed";
  }
}

async function deleteLog(
  { link, segments }: ExpiryGround,
  attempt: AttemptId,
  view: WholeView,
): Promise<boolean> {
  const claimed = view.claim === undefined ? [] : [view.claim];
  const names = [...view.segments.map(({ name }) => name), ...view.garbage, ...claimed];
  for (const name of names) await segments.delete(attempt, name);
  const { meta, stream, news } = link.keysOf(attempt);
  const args = [view.endText ?? "", news, link.publishing];
  return Number(await link.run("forget", [meta, stream], args)) === 1;
}

async function leave(
  { link, ledger }: ExpiryGround,
  attempt: AttemptId,
  view: WholeView | undefined,
): Promise<void> {
  const { shared } = link;
  const isOpen = view !== undefined && view.end === undefined;
  await Promise.all([
    link.write("ZREM", shared.expiry, attempt),
    link.write("ZREM", shared.ended, attempt),
    ...(isOpen ? [] : [link.write("SREM", shared.open, attempt), ledger.gone(attempt)]),
  ]);
}
