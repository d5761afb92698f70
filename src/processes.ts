import { readdirSync, readFileSync } from "node:fs";

/** One process as /proc shows it. */
export interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  readonly cpuTicks: number;
  /** Ticks since boot; with the pid it names a process for good. */
  readonly startTicks: number;
  readonly residentPages: number;
  readonly isZombie: boolean;
}

/** Clock ticks per second and page size: fixed on every Linux that Node runs on, but for the page size of some ARM kernels. */
export const ticksPerSecond = 100;
export const pageBytes = 4096;

/** Every process that can be seen; none where there is no /proc. */
export function listProcesses(): ProcessEntry[] {
  return listPids().flatMap((pid) => readProcess(pid) ?? []);
}

export function readProcess(pid: number): ProcessEntry | undefined {
  const text = readOrUndefined(`/proc/${pid}/stat`);
  // The name in parentheses may hold anything, so fields are counted from its end.
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  if (fields === undefined || fields.length < 22) return undefined;
  const field = (index: number): number => Number(fields[index - 3]);
  return {
    pid,
    parent: field(4),
    group: field(5),
    session: field(6),
    cpuTicks: field(14) + field(15) + field(16) + field(17),
    startTicks: field(22),
    residentPages: field(24),
    isZombie: fields[0] === "Z" || fields[0] === "X",
  };
}

/** Pids of processes whose environment holds the assignment `NAME=value`, for each given one. Costs the same for many values of one name. */
export function findMarked(assignments: readonly string[]): Map<string, number[]> {
  const found = new Map<string, number[]>(assignments.map((assignment) => [assignment, []]));
  const names = new Set(assignments.map((text) => text.slice(0, text.indexOf("=") + 1)));
  for (const pid of listPids()) {
    const text = readOrUndefined(`/proc/${pid}/environ`) ?? "";
    for (const name of names) {
      for (let at = text.indexOf(name); at !== -1; at = text.indexOf(name, at + 1)) {
        const end = text.indexOf("\0", at);
        found.get(text.slice(at, end === -1 ? text.length : end))?.push(pid);
      }
    }
  }
  return found;
}

/** `roots` and everything below them or in a session of theirs. */
export function treeOf(roots: Iterable<number>, all: readonly ProcessEntry[]): ProcessEntry[] {
  const pids = new Set(roots);
  for (let size = -1; size !== pids.size;) {
    size = pids.size;
    for (const entry of all) {
      if (pids.has(entry.parent) || pids.has(entry.session)) pids.add(entry.pid);
    }
  }
  return all.filter(({ pid }) => pids.has(pid));
}

/** Sends a signal to a process, or with a negative pid to a group; whether there was one. */
export function signalTo(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

function listPids(): number[] {
  try {
    return readdirSync("/proc").map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}

function readOrUndefined(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch {
    // The process is gone or somebody else's.
    return undefined;
  }
}
