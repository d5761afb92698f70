import { HodeiError } from "#error.ts";
import { every } from "#every.ts";
import type { AttemptId } from "#job/id.ts";
import type { Ground, Held, Side } from "./attempts-side.ts";
import { BatchBuilder } from "#log/lines.ts";
import type { AttemptBatch } from "./scheduler.ts";

const tailHeader = "the agent died; the worker itself printed last:\n";

/** Stores a batch of an attempt that is held, and tells who waits for it. */
export async function appendHeld(
  ground: Ground,
  held: Held,
  batch: AttemptBatch,
): Promise<"ok" | "fenced"> {
  try {
    await ground.logStore.append(held.attemptId, batch);
  } catch (error) {
    if (error instanceof HodeiError && error.code === "aborted") return "fenced";
    throw error;
  }
  held.logBatch = Math.max(held.logBatch ?? 0, batch.number);
  held.onLog?.();
  return "ok";
}

/** The batch, with whose log it is. */
export function ofTenant(batch: AttemptBatch, tenant: string | undefined): AttemptBatch {
  return tenant === undefined ? batch : { ...batch, tenant };
}

/**
 * Ends the log of an attempt whose agent says that `lastLogBatch` was its last: as soon as that one is durable, or after a bounded wait with a gap
 * (DESIGN G22). False when the connection went away meanwhile: the agent will send its result again.
 */
export async function endLog(
  ground: Ground,
  { side, held }: { readonly side: Side; readonly held: Held },
  lastLogBatch: number,
): Promise<boolean> {
  const { logStore, limits, readSpec, now } = ground;
  held.logBatch ??= (await logStore.findLog(held.attemptId))?.batch ?? 0;
  await using _ = lookElsewhere(ground, held);
  const isWhole = await hasBatch(held, lastLogBatch, { side, waitMs: limits.logWaitMs });
  if (isWhole === undefined) return false;
  if (!isWhole) ground.count("log_lost");
  if (isWhole && held.logBatch === 0) return true;
  const expiresAt = now() + held.readSpec(readSpec).logTtlMs;
  await logStore.end(held.attemptId, isWhole ? { expiresAt } : { expiresAt, missing: "lost" });
  return true;
}

/** Ends the log of an attempt whose agent is not heard any more, with what its worker printed last. */
export async function loseLog(
  ground: Ground,
  attemptId: AttemptId,
  { ttlMs, tail }: { readonly ttlMs: number; readonly tail: Uint8Array | undefined },
): Promise<void> {
  ground.count("log_lost");
  if (tail !== undefined && tail.length > 0) {
    await appendTail(ground, attemptId, tail).catch((error: unknown) => {
      // It would help, but the end of the attempt does not wait for it.
      ground.log.warn({ attemptId, err: error }, "the worker's last output was not kept");
    });
  }
  await ground.logStore.end(attemptId, { expiresAt: ground.now() + ttlMs, missing: "lost" });
}

async function appendTail(
  { logStore, now }: Ground,
  attemptId: AttemptId,
  tail: Uint8Array,
): Promise<void> {
  const log = await logStore.findLog(attemptId);
  if (log?.hasEnded === true) return;
  const builder = new BatchBuilder(log === undefined ? {} : { last: log.last });
  const timeMicros = now() * 1_000;
  builder.add("system", Buffer.from(tailHeader), timeMicros);
  builder.add("system", Buffer.from(tail), timeMicros);
  let number = log?.batch ?? 0;
  for (const { bytes } of builder.flush(timeMicros)) {
    number += 1;
    await logStore.append(attemptId, { number, bytes });
  }
}

/** Where the store is shared, the log may come in by another replica: what it has is asked for until disposed. */
function lookElsewhere({ store, logStore, log }: Ground, held: Held): AsyncDisposable | undefined {
  if (store.replicas === undefined) return undefined;
  const onError = (err: unknown): void => log.debug({ ...held.facts, err }, "cannot look at a log");
  return every({ intervalMs: lookMs, onError }, async () => {
    const found = await logStore.findLog(held.attemptId);
    held.logBatch = Math.max(held.logBatch ?? 0, found?.batch ?? 0);
    held.onLog?.();
  });
}

const lookMs = 500;

/** Whether the batch became durable in time; undefined when the connection went away before that. */
async function hasBatch(
  held: Held,
  batch: number,
  { side, waitMs }: { readonly side: Side; readonly waitMs: number },
): Promise<boolean | undefined> {
  if ((held.logBatch ?? 0) >= batch) return true;
  const { epoch } = side;
  const { promise, resolve } = Promise.withResolvers<boolean | undefined>();
  const late = setTimeout(() => resolve(false), waitMs);
  const look = (): void => {
    if ((held.logBatch ?? 0) >= batch) resolve(true);
    else if (side.epoch !== epoch) resolve(undefined);
  };
  held.onLog = look;
  look();
  const answer = await promise;
  clearTimeout(late);
  if (held.onLog === look) held.onLog = undefined;
  return answer;
}
