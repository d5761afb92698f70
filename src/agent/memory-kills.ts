import { readFileSync } from "node:fs";

/** Tells whether the kernel has killed something in the agent's own control group for want of memory. */
export interface MemoryKills {
  /** Whether there were any since the last time it was asked. */
  grew(): boolean;
}

/** Without a control group of its own nothing can be said, and `grew` is always false. */
export function watchMemoryKills(read: (path: string) => string = readText): MemoryKills {
  const source = findCounter(read);
  let last = source === undefined ? 0 : (countOf(source, read) ?? 0);
  return {
    grew() {
      const count = source === undefined ? undefined : countOf(source, read);
      const hasGrown = count !== undefined && count > last;
      last = count ?? last;
      return hasGrown;
    },
  };
}

function findCounter(read: (path: string) => string): string | undefined {
  const lines = attempt(() => read("/proc/self/cgroup").split("\n")) ?? [];
  const paths = lines.flatMap((line) => {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (path === undefined) return [];
    const within = path === "/" ? "" : path;
    if (controllers === "") return [`/sys/fs/cgroup${within}/memory.events`];
    if (controllers !== "memory") return [];
    return [
      `/sys/fs/cgroup/memory${within}/memory.oom_control`,
      "/sys/fs/cgroup/memory/memory.oom_control",
    ];
  });
  return paths.find((path) => countOf(path, read) !== undefined);
}

function countOf(path: string, read: (path: string) => string): number | undefined {
  const match = /^oom_kill (\d+)$/m.exec(attempt(() => read(path)) ?? "");
  return match === null ? undefined : Number(match[1]);
}

function attempt<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch {
    return undefined;
  }
}

function readText(path: string): string {
  return readFileSync(path, "utf8");
}
