import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { signalTo } from "#processes.ts";
import type { GroupPlan } from "./control-groups.ts";

const killRounds = 100;
const roundMs = 2;
/** Who goes deeper hides nothing: ending a group ends all below it where the kernel can, and the rest carries the marker. */
const deepest = 8;

/** Makes the groups and sets their bounds. A group that bounds nothing may fail: what is in it is found by its marker all the same. */
export function makeGroups(plans: readonly GroupPlan[]): void {
  for (const { path, settings } of plans) {
    unlessNeeded(settings.length > 0, () => mkdirSync(path));
    for (const { file, value, isOptional } of settings) {
      unlessNeeded(!isOptional, () => writeFileSync(join(path, file), value));
    }
  }
}

/** Puts a process, and with it all that it starts from then on, into the groups. */
export function enterGroups(plans: readonly GroupPlan[], pid: number): void {
  for (const { path, settings } of plans) {
    try {
      writeFileSync(join(path, "cgroup.procs"), String(pid));
    } catch (error) {
      // Whoever has ended already needs no bounds.
      const isGone = error instanceof Error && "code" in error && error.code === "ESRCH";
      if (settings.length > 0 && !isGone) throw error;
    }
  }
}

/** Kills all that is in the groups and removes them; whether both were reached. */
export function endGroups(paths: readonly string[]): boolean {
  for (let round = 0; round < killRounds; round++) {
    const left = paths.filter((path) => existsSync(path));
    if (left.length === 0) return true;
    for (const path of left) killAllIn(path);
    if (left.filter((path) => !remove(path)).length === 0) return true;
    // What was killed needs a moment to be gone.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, roundMs);
  }
  return false;
}

/** How often the kernel has killed something in the groups for want of memory. */
export function memoryKillsIn(paths: readonly string[]): number {
  const counts = paths.flatMap((path) =>
    ["memory.events", "memory.oom_control"].map((file) =>
      Number(/^oom_kill (\d+)$/m.exec(readText(join(path, file)))?.[1] ?? 0),
    ),
  );
  return Math.max(0, ...counts);
}

function killAllIn(path: string): void {
  const kill = join(path, "cgroup.kill");
  if (existsSync(kill)) {
    attempt(() => writeFileSync(kill, "1"));
    return;
  }
  // Frozen, nothing can fork away from under the list.
  const freezer = join(path, "freezer.state");
  const isFreezer = existsSync(freezer);
  if (isFreezer) attempt(() => writeFileSync(freezer, "FROZEN"));
  for (const group of [path, ...groupsBelow(path)]) {
    const pids = readText(join(group, "cgroup.procs")).split("\n").filter(Boolean).map(Number);
    for (const pid of pids) signalTo(pid, "SIGKILL");
  }
  if (isFreezer) attempt(() => writeFileSync(freezer, "THAWED"));
}

function remove(path: string): boolean {
  for (const group of groupsBelow(path).toReversed()) attempt(() => rmdirSync(group));
  attempt(() => rmdirSync(path));
  return !existsSync(path);
}

/** Parents before children. */
function groupsBelow(path: string, depth = deepest): string[] {
  if (depth === 0) return [];
  let names: string[] = [];
  attempt(() => {
    const entries = readdirSync(path, { withFileTypes: true });
    names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(path, name));
  });
  return names.flatMap((name) => [name, ...groupsBelow(name, depth - 1)]);
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function unlessNeeded(isNeeded: boolean, step: () => void): void {
  if (isNeeded) step();
  else attempt(step);
}

/** What fails here shows in the next round. */
function attempt(step: () => void): boolean {
  try {
    step();
    return true;
  } catch {
    return false;
  }
}
