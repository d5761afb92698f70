import { readFileSync } from "node:fs";

/** Tells how often the kernel has killed something in the agent's own control group for want of memory. */
export interface MemoryKills {
  /** How many there were since the last time it was asked. */
  take(): number;
  /** Whether those were kills; an old kernel says no more than how often the limit was met. */
  readonly isExact: boolean;
}

/** Where a count stands, and how it is read. */
interface Counter {
  readonly path: string;
  readonly pattern: RegExp;
}

const events = /^oom_kill (\d+)$/m;
const failures = /^(\d+)$/m;

/** Without a control group of its own nothing can be said, and it is always zero. */
export function watchMemoryKills(read: (path: string) => string = readText): MemoryKills {
  const counter = findCounter(read);
  const count = (): number | undefined => counter && countOf(counter, read);
  let last = count() ?? 0;
  return {
    isExact: counter?.pattern === events,
    take() {
      const now = count() ?? last;
      const grown = Math.max(0, now - last);
      last = now;
      return grown;
    },
  };
}

/**
 * The first of the group's own place and the root of the mount that can be read. In a container the root is often the container's group, and the path in
 * `/proc/self/cgroup` one of the host's, or, from outside of the namespace, one that begins with `/..`.
 */
function findCounter(read: (path: string) => string): Counter | undefined {
  const lines = (readOrUndefined("/proc/self/cgroup", read) ?? "").split("\n");
  const counters = lines.flatMap((line) => {
    const [, controllers = "-", path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const within = path === "/" || path.startsWith("/..") ? "" : path;
    if (controllers === "") return newerCounters(within);
    return controllers.split(",").includes("memory") ? olderCounters(within) : [];
  });
  return counters.find((counter) => countOf(counter, read) !== undefined);
}

function newerCounters(within: string): Counter[] {
  return ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].flatMap((mount) =>
    [within, ""].map((place) => ({ path: `${mount}${place}/memory.events`, pattern: events })),
  );
}

function olderCounters(within: string): Counter[] {
  return [within, ""].flatMap((place) => [
    { path: `/sys/fs/cgroup/memory${place}/memory.oom_control`, pattern: events },
    { path: `/sys/fs/cgroup/memory${place}/memory.failcnt`, pattern: failures },
  ]);
}

function countOf({ path, pattern }: Counter, read: (path: string) => string): number | undefined {
  const match = pattern.exec(readOrUndefined(path, read) ?? "");
  return match === null ? undefined : Number(match[1]);
}

function readOrUndefined(path: string, read: (path: string) => string): string | undefined {
  try {
    return read(path);
  } catch {
    return undefined;
  }
}

function readText(path: string): string {
  return readFileSync(path, "utf8");
}
