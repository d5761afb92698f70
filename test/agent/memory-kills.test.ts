import { describe, expect, it } from "vitest";
import { watchMemoryKills } from "#agent/memory-kills.ts";
import { failureOfExit } from "#agent/verdict.ts";

const events = (kills: number): string =>
  `low 0\nhigh 0\nmax 12\noom 1\noom_kill ${kills}\noom_group_kill 0\n`;
const control = (kills: number): string => `oom_kill_disable 0\nunder_oom 0\noom_kill ${kills}\n`;

/** Where the count is in a container of each kind, by what its /proc/self/cgroup says. */
const places = [
  ["version 2, in a namespace of its own", "0::/\n", "/sys/fs/cgroup/memory.events", events],
  [
    "version 2, with the host's paths",
    "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-1.scope\n",
    "/sys/fs/cgroup/memory.events",
    events,
  ],
  [
    "version 2, seen from outside of its namespace",
    "0::/../../cri-containerd-1.scope\n",
    "/sys/fs/cgroup/memory.events",
    events,
  ],
  [
    "version 2, without a container",
    "0::/user.slice/a.service\n",
    "/sys/fs/cgroup/user.slice/a.service/memory.events",
    events,
  ],
  [
    "version 1, in a namespace of its own",
    "9:name=systemd:/\n4:memory:/\n0::/\n",
    "/sys/fs/cgroup/memory/memory.oom_control",
    control,
  ],
  [
    "version 1, with the host's paths",
    "4:memory:/kubepods/burstable/pod1/abc\n0::/\n",
    "/sys/fs/cgroup/memory/memory.oom_control",
    control,
  ],
  [
    "version 1, its own path",
    "12:cpu,memory:/a\n",
    "/sys/fs/cgroup/memory/a/memory.oom_control",
    control,
  ],
] as const;

function system(files: Map<string, string>) {
  return (path: string): string => {
    const text = files.get(path);
    if (text === undefined) throw new Error(`ENOENT: ${path}`);
    return text;
  };
}

describe("memory kills", () => {
  it.for(places)("are counted with control groups of %s", ([, cgroup, path, text]) => {
    const files = new Map([
      ["/proc/self/cgroup", cgroup],
      [path, text(3)],
    ]);
    const kills = watchMemoryKills(system(files));
    expect(kills.isExact).toBe(true);
    expect(kills.take()).toBe(0);
    files.set(path, text(5));
    expect(kills.take()).toBe(2);
    expect(kills.take()).toBe(0);
    files.delete(path);
    expect(kills.take()).toBe(0);
  });

  it("are guessed from an old kernel's count of failures", () => {
    const path = "/sys/fs/cgroup/memory/memory.failcnt";
    const files = new Map([
      ["/proc/self/cgroup", "4:memory:/docker/abc\n"],
      ["/sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n"],
      [path, "7\n"],
    ]);
    const kills = watchMemoryKills(system(files));
    expect(kills.isExact).toBe(false);
    files.set(path, "9\n");
    expect(kills.take()).toBe(2);
  });

  it("are none where nothing can be read", () => {
    const kills = watchMemoryKills(system(new Map()));
    expect(kills.take()).toBe(0);
  });
});

describe("an exit is put down to memory", () => {
  const about = {
    stopCause: undefined,
    stopReason: "",
    isOutOfMemory: false,
    memoryKills: 0,
    isShell: true,
  };
  const killed = { exitCode: undefined, signal: "SIGKILL" } as const;
  const code = (exitCode: number) => ({ exitCode, signal: undefined });

  it("when the kernel killed the job itself", () => {
    const failure = failureOfExit(killed, { ...about, isOutOfMemory: true, memoryKills: 1 });
    expect(failure).toMatchObject({ cause: "out_of_memory", message: "the job ran out of memory" });
  });

  it("when it killed a child, and the job gave up with 137", () => {
    const failure = failureOfExit(code(137), { ...about, isOutOfMemory: true, memoryKills: 1 });
    expect(failure).toMatchObject({ cause: "out_of_memory", blame: "user" });
    expect(failure?.message).toContain("a process of the job ran out of memory");
  });

  it("beside its own code, when the job went on after that", () => {
    const failure = failureOfExit(code(3), { ...about, memoryKills: 2 });
    expect(failure).toMatchObject({
      cause: "exit_code",
      evidence: { exit_code: "3", memory_kills: "2" },
    });
    expect(failure?.message).toContain("killed 2 processes of the job for want of memory");
  });

  it("never by 137 or a SIGKILL alone", () => {
    expect(failureOfExit(code(137), about)?.cause).toBe("exit_code");
    expect(failureOfExit(killed, about)?.cause).toBe("signal");
    expect(failureOfExit(code(0), { ...about, memoryKills: 1 })).toBeUndefined();
  });
});
