import { setTimeout as wait } from "node:timers/promises";
import type { Worker } from "#worker/worker.ts";
import { type Parts, textOf } from "./start-parts.ts";

/** How much of it is kept. */
const tailBytes = 32 * 1024;

/** What a worker that is gone printed last, as far as its provider has it and says so in time. */
export async function readTail(parts: Parts, worker: Worker): Promise<Uint8Array | undefined> {
  const provider = parts.providers.find(worker.provider);
  if (provider?.readTail === undefined || worker.resourceUid === undefined) return undefined;
  const late = new AbortController();
  const { tailWaitMs } = parts.limits;
  const tooLate = wait(tailWaitMs, undefined, { signal: late.signal, ref: false }).catch(
    () => undefined,
  );
  try {
    const tail = await Promise.race([provider.readTail(worker.id, worker.resourceUid), tooLate]);
    return tail === undefined ? undefined : lastLines(tail);
  } catch (error) {
    const { id: workerId } = worker;
    parts.log.debug({ workerId, err: textOf(error) }, "cannot read a worker's last output");
    return undefined;
  } finally {
    late.abort();
  }
}

/** Whole lines, where one ends in what is kept. */
function lastLines(tail: Uint8Array): Uint8Array {
  if (tail.length <= tailBytes) return tail;
  const kept = tail.subarray(-tailBytes);
  return kept.subarray(kept.indexOf(10) + 1);
}
