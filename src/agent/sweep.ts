import { findMarked, listProcesses, readProcess, signalTo, treeOf } from "#processes.ts";

/** What is known of a job's processes. The marker is an assignment in their environment. */
export interface JobProcesses {
  readonly pid: number | undefined;
  readonly marker: string;
  /** Seen earlier, by pid, with their start time. Kept up to date by `signalAll`. */
  readonly seen: Map<number, number>;
}

const killRounds = 50;

/** Signals every process of a job that can be found: its group, its session, what descends from it, what carries its marker. */
export function signalAll(job: JobProcesses, signal: NodeJS.Signals): number {
  if (job.pid !== undefined) signalTo(-job.pid, signal);
  const found = findAll(job);
  for (const pid of found) signalTo(pid, signal);
  return found.length;
}

/** Kills until nothing of the job is left; a process that forks as fast as it is killed ends it after a bounded number of rounds. */
export function killAll(job: JobProcesses): boolean {
  for (let round = 0; round < killRounds; round++) {
    if (signalAll(job, "SIGKILL") === 0) return true;
  }
  return false;
}

/** Kills what jobs that ended by themselves left behind, with one scan for all of them. */
export function killMarked(markers: readonly string[]): void {
  for (let round = 0; round < killRounds; round++) {
    const pids = [...findMarked(markers).values()].flat().filter((pid) => pid !== process.pid);
    if (pids.length === 0) return;
    for (const pid of pids) signalTo(pid, "SIGKILL");
  }
}

function findAll(job: JobProcesses): number[] {
  const marked = findMarked([job.marker]).get(job.marker) ?? [];
  // A pid that was given to another process meanwhile has another start time.
  const earlier = [...job.seen].filter(([pid, start]) => readProcess(pid)?.startTicks === start);
  const roots = [...marked, ...earlier.map(([pid]) => pid)];
  if (job.pid !== undefined) roots.push(job.pid);
  const tree = treeOf(roots, listProcesses()).filter(
    ({ pid, isZombie }) => pid !== process.pid && !isZombie,
  );
  for (const { pid, startTicks } of tree) job.seen.set(pid, startTicks);
  return tree.map(({ pid }) => pid);
}
