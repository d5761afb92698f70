import { HodeiError } from "#error.ts";
import type { BatchScan } from "#log/batch.ts";
import { logStreams } from "#log/record.ts";
import type { FileLog } from "./log.ts";

/** Error: `failed_precondition` when a batch or one of its records is not the next one of its log. */
export function checkOrder(log: FileLog, number: number, scan: BatchScan): void {
  const { attempt, accepted, mayJump } = log;
  const expected = accepted.number + 1;
  const isNext = number === expected || (mayJump && number > expected);
  if (!Number.isSafeInteger(number) || !isNext) {
    throw hole(`log of ${attempt}: batch ${number} comes where ${expected} is expected`);
  }
  for (const name of logStreams) {
    const first = scan.first[name];
    const next = accepted.mark.last[name] + 1;
    if (first === 0 || first === next || (mayJump && first > next)) continue;
    throw hole(`log of ${attempt}: ${name} record ${first} comes where ${next} is expected`);
  }
}

function hole(message: string): HodeiError {
  return new HodeiError("failed_precondition", message);
}
