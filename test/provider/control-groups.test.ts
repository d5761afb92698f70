import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { findControlGroups, type GroupUse } from "#provider/process/control-groups.ts";
import { endGroups, makeGroups, memoryKillsIn } from "#provider/process/group-files.ts";

const memoryBytes = 64 * 1024 * 1024;

/** A machine whose groups are plain directories, with these files, and where this process is in these groups. */
function machine(self: readonly string[], present: Readonly<Record<string, string>>) {
  const root = mkdtempSync(join(tmpdir(), "hodei-groups-"));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  const text = (path: string): string => {
    try {
      return readFileSync(join(root, path), "utf8");
    } catch {
      return "";
    }
  };
  for (const [path, content] of Object.entries({ ...present, self: self.join("\n") })) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  // The kernel puts files into a new group; which ones depends on where it is.
  const list = (group: string): string[] => {
    const parent = dirname(group);
    const enabled = text(join(parent.slice(root.length), "cgroup.subtree_control"));
    return [
      ...(parent.startsWith(join(root, "memory")) ? ["memory.limit_in_bytes"] : []),
      ...(parent.startsWith(join(root, "cpu")) ? ["cpu.cfs_quota_us"] : []),
      ...(parent.startsWith(join(root, "freezer")) ? ["freezer.state"] : []),
      ...(existsSync(join(parent, "cgroup.controllers")) ? ["cgroup.kill"] : []),
      ...(enabled.includes("memory") ? ["memory.max"] : []),
      ...(enabled.includes("cpu") ? ["cpu.max"] : []),
    ];
  };
  const find = (use: GroupUse) => findControlGroups(use, { root, self: join(root, "self"), list });
  return { root, text, find };
}

const second = { "cgroup.controllers": "cpu io memory pids\n", "cgroup.subtree_control": "" };
const controls = ["memory", "cpu", "kill"] as const;

describe("control groups of workers", () => {
  it("are those of version 2 where the server is at the root of what it sees", () => {
    const { root, text, find } = machine(["0::/"], second);
    const groups = find("auto");
    expect(controls.map((control) => groups.has(control))).toEqual([true, true, true]);
    expect(text("cgroup.subtree_control")).toBe("+memory +cpu");
    expect(groups.plan("w1", { memoryBytes, cpuMillis: 1_500 })).toEqual([
      {
        path: join(root, "hodei-w1"),
        settings: [
          { file: "memory.max", value: String(memoryBytes), isOptional: false },
          { file: "memory.swap.max", value: "0", isOptional: true },
          { file: "cpu.max", value: "150000 100000", isOptional: false },
        ],
      },
    ]);
  });

  it("are those of version 1, one in each hierarchy that is needed", () => {
    const places = { "memory/tasks": "", "cpu,cpuacct/tasks": "", "freezer/tasks": "" };
    const { root, find } = machine(["4:memory:/", "3:cpu,cpuacct:/", "2:freezer:/"], places);
    const groups = find("auto");
    expect(controls.map((control) => groups.has(control))).toEqual([true, true, true]);
    const bounded = groups.plan("w1", { memoryBytes, cpuMillis: 1 });
    expect(bounded.map(({ path }) => path)).toEqual([
      join(root, "memory/hodei-w1"),
      join(root, "cpu,cpuacct/hodei-w1"),
      join(root, "freezer/hodei-w1"),
    ]);
    expect(bounded[1]?.settings.map(({ file, value }) => [file, value])).toEqual([
      ["cpu.cfs_period_us", "100000"],
      ["cpu.cfs_quota_us", "1000"],
    ]);
    const unbounded = groups.plan("w1", { memoryBytes: 0, cpuMillis: 0 });
    expect(unbounded).toEqual([{ path: join(root, "freezer/hodei-w1"), settings: [] }]);
  });

  it("are of both versions where the older one has the controllers", () => {
    const places = { "memory/tasks": "", "unified/cgroup.controllers": "\n" };
    const { root, find } = machine(["4:memory:/", "0::/"], places);
    const paths = find("auto").plan("w1", { memoryBytes, cpuMillis: 0 });
    expect(paths.map(({ path }) => path)).toEqual([
      join(root, "unified/hodei-w1"),
      join(root, "memory/hodei-w1"),
    ]);
  });

  it("are below a group of somebody else's only where the operator says that it was given to the server", () => {
    const own = Object.entries(second).map(([name, text]) => [
      `user.slice/s.service/${name}`,
      text,
    ]);
    const given = () =>
      machine(["0::/user.slice/s.service"], { ...second, ...Object.fromEntries(own) });
    expect(given().find("auto").has("kill")).toBe(false);
    expect(given().find("off").has("kill")).toBe(false);
    const { root, find } = given();
    expect(find("own").plan("w1", { memoryBytes, cpuMillis: 0 })[0]?.path).toBe(
      join(root, "user.slice/s.service/hodei-w1"),
    );
  });

  it("are beside the server's own one where it has gone into a leaf", () => {
    const { root, find } = machine(["0::/hodei-server"], {
      "cgroup.controllers": "cpu memory\n",
      "cgroup.subtree_control": "cpu memory\n",
      "hodei-server/cgroup.procs": "",
    });
    expect(find("auto").plan("w1", { memoryBytes: 0, cpuMillis: 0 })[0]?.path).toBe(
      join(root, "hodei-w1"),
    );
  });

  it("that were forgotten are removed once they are empty", () => {
    const { root, find } = machine(["0::/"], { ...second, "hodei-busy/below/tasks": "1" });
    mkdirSync(join(root, "hodei-old"));
    mkdirSync(join(root, "others"));
    const now = vi.spyOn(Date, "now").mockReturnValue(Date.now() + 120_000);
    onTestFinished(() => now.mockRestore());
    find("auto");
    const left = ["hodei-old", "hodei-busy", "others"].map((name) => existsSync(join(root, name)));
    expect(left).toEqual([false, true, true]);
  });

  it("are none where there is nothing to be read or made", () => {
    const groups = machine([], {}).find("own");
    expect(groups.plan("w1", { memoryBytes, cpuMillis: 100 })).toEqual([]);
    expect(controls.some((control) => groups.has(control))).toBe(false);
  });
});

describe("a worker's groups", () => {
  it("are made with their bounds, tell of kills for want of memory, and are removed", () => {
    const { root } = machine([], {});
    const path = join(root, "hodei-w1");
    makeGroups([
      {
        path,
        settings: [
          { file: "memory.max", value: "1", isOptional: false },
          { file: "no/such/file", value: "1", isOptional: true },
        ],
      },
      { path: "/proc/hodei-w1", settings: [] },
    ]);
    expect(readFileSync(join(path, "memory.max"), "utf8")).toBe("1");
    writeFileSync(join(path, "memory.events"), "oom 3\noom_kill 2\n");
    expect(memoryKillsIn([path, "/no/such"])).toBe(2);
    // The kernel's files do not keep a group from being removed.
    rmSync(join(path, "memory.max"));
    rmSync(join(path, "memory.events"));
    mkdirSync(join(path, "below/deeper"), { recursive: true });
    expect(endGroups([path, "/no/such"])).toBe(true);
    expect(existsSync(path)).toBe(false);
  });

  it("are not made when a bound cannot be set", () => {
    const settings = [{ file: "memory.max", value: "1", isOptional: false }];
    expect(() => makeGroups([{ path: "/proc/hodei-w1", settings }])).toThrow("ENOENT");
  });
});
