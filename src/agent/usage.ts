import { pageBytes, type ProcessEntry, ticksPerSecond, treeOf } from "#processes.ts";

/** Processor time and resident memory of a process and everything below it. Time of what ended counts once its parent has taken note. */
export function measure(
  pid: number,
  all: readonly ProcessEntry[],
): { readonly cpuSeconds: number; readonly memoryBytes: number } {
  let ticks = 0;
  let pages = 0;
  for (const entry of treeOf([pid], all)) {
    ticks += entry.cpuTicks;
    pages += entry.residentPages;
  }
  return { cpuSeconds: ticks / ticksPerSecond, memoryBytes: pages * pageBytes };
}
