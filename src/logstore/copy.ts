import { HodeiError } from "#error.ts";
import type { AttemptId } from "#job/id.ts";
import { noSequences } from "#log/record.ts";
import type { LogStore } from "./logstore.ts";

export interface CopiedLogs {
  readonly logs: number;
  /** Only in an archive that cannot be read here; they stay there. */
  readonly leftLogs: number;
}

/** Copies the logs of attempts into another log store, where a reader sees the same and an open log goes on. Nobody else may use either. What is there already stays. */
export async function copyLogs(
  from: LogStore,
  to: LogStore,
  attempts: AsyncIterable<AttemptId>,
): Promise<CopiedLogs> {
  let [logs, leftLogs] = [0, 0];
  for await (const attempt of attempts) {
    try {
      if (await copyLog(from, to, attempt)) logs++;
    } catch (error) {
      if (!(error instanceof HodeiError) || error.code !== "unavailable") throw error;
      leftLogs++;
    }
  }
  return { logs, leftLogs };
}

async function copyLog(from: LogStore, to: LogStore, attempt: AttemptId): Promise<boolean> {
  const state = await from.findLog(attempt);
  if (state === undefined || (await to.findLog(attempt))?.hasEnded === true) return false;
  let number = 0;
  const { signal } = new AbortController();
  for await (const { bytes } of from.read(attempt, { after: noSequences, follow: false, signal })) {
    await to.append(attempt, { number: ++number, bytes });
  }
  if (state.hasEnded) {
    // What was missing behind the end has become a record of its own.
    await to.end(attempt, { expiresAt: state.expiresAt ?? Number.MAX_SAFE_INTEGER });
    return true;
  }
  // A gap stands for several batches; the agent goes on with its own count.
  while (number < state.batch) await to.append(attempt, { number: ++number, bytes: nothing });
  return true;
}

const nothing = new Uint8Array();
