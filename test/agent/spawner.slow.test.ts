import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { listProcesses } from "#processes.ts";
import { Blame, Cause } from "#rpc/gen/hodei/v1/job.ts";
import { alive, sh, started } from "./agent-process.ts";

/** The process beside an agent that starts its jobs; undefined while it is not there. */
function spawnerOf(agentPid: number | undefined): number | undefined {
  const isSpawner = (pid: number): boolean => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("--spawner");
    } catch {
      return false;
    }
  };
  return childrenOf(agentPid ?? 0).find(isSpawner);
}

async function startedWithSpawner(script: Parameters<typeof started>[0] = {}) {
  const run = await started(script, { SECRET: "agent-only" });
  await run.server.connected();
  const spawner = await vi.waitFor(
    () => {
      const pid = spawnerOf(run.agent.child.pid);
      if (pid === undefined) throw new Error("no spawner");
      return pid;
    },
    { timeout: 9_000 },
  );
  // It is used once it has said that it is ready; jobs tell by their parent.
  for (let round = 0; ; round++) {
    const id = `ready-${round}`;
    run.server.assign(id, sh("echo $PPID"));
    await run.server.result(id);
    await vi.waitFor(() => expect(run.server.output(id).length).toBeGreaterThan(0), 9_000);
    if (Number(run.server.output(id)) === spawner) break;
    expect(round).toBeLessThan(500);
  }
  return { ...run, spawner };
}

describe("an agent with several slots", () => {
  let run: Awaited<ReturnType<typeof startedWithSpawner>>;
  beforeAll(async () => {
    run = await startedWithSpawner();
  });
  afterAll(() => run[Symbol.asyncDispose]());

  it("starts its jobs by a small process whose environment is that of a job", () => {
    const environ = readFileSync(`/proc/${run.spawner}/environ`, "utf8");
    expect(environ).not.toMatch(/SECRET|OTP|HODEI_SERVER|HODEI_WORKER_ID/);
  });

  it.for([
    ["exit 3", sh("exit 3"), { exitCode: 3, cause: Cause.CAUSE_EXIT_CODE }],
    ["137 is a code", sh("exit 137"), { exitCode: 137, cause: Cause.CAUSE_EXIT_CODE }],
    ["a signal", sh("kill -9 $$"), { signal: 9, cause: Cause.CAUSE_SIGNAL }],
    ["no program", { command: ["/no"] }, { exitCode: 127, cause: Cause.CAUSE_COMMAND_NOT_FOUND }],
    [
      "not executable",
      { command: ["/etc/passwd"] },
      { exitCode: 126, cause: Cause.CAUSE_NOT_EXECUTABLE },
    ],
    [
      "no directory",
      { ...sh("true"), workingDirectory: "/no/such" },
      { exitCode: undefined, cause: Cause.CAUSE_PREPARATION_FAILED },
    ],
    [
      "a NUL in an argument",
      { command: ["echo", "a\0b"] },
      { exitCode: undefined, cause: Cause.CAUSE_PREPARATION_FAILED },
    ],
  ] as const)("tells what became of it: %s", async ([name, spec, wanted]) => {
    const id = `end-${name}`;
    run.server.assign(id, spec);
    const { exitCode, signal, failure } = await run.server.result(id);
    const { cause, ...rest } = wanted;
    expect({ exitCode, signal }).toMatchObject(rest);
    expect(failure?.cause).toBe(cause);
  });

  it("gives a job a session of its own, its output in order, and a real pipe to open by name", async () => {
    run.server.assign("s1", sh("ps -o sid= -p $$; echo $$; echo x > /dev/stderr; echo done"));
    expect(await run.server.result("s1")).toMatchObject({ exitCode: 0 });
    await vi.waitFor(() => expect(run.server.output("s1").toString()).toContain("done"), 9_000);
    const [session, pid, last] = run.server.output("s1").toString().trim().split(/\s+/);
    expect(session).toBe(pid);
    expect(last).toBe("done");
    expect(run.server.output("s1", "stderr").toString()).toBe("x\n");
  });

  it("gives a job its input", async () => {
    run.server.assign("i1", { ...sh("cat"), stdin: Buffer.from("given\n") });
    await run.server.result("i1");
    await vi.waitFor(() => expect(run.server.output("i1").toString()).toBe("given\n"), 9_000);
  });

  it("ends a job that is cancelled, also one whose start is on its way", async () => {
    for (let round = 0; round < 20; round++) {
      const id = `c${round}`;
      run.server.assign(id, { ...sh("echo $$; sleep 600"), cancelGraceMs: 60_000 });
      run.server.cancel(id, round % 2 === 0 ? 0 : 60_000);
      const { failure } = await run.server.result(id);
      expect(failure?.cause).toBe(Cause.CAUSE_CANCELLED);
    }
    const sleeping = (): boolean => childrenOf(run.spawner).length > 0;
    await vi.waitFor(() => expect(sleeping()).toBe(false), 9_000);
  });

  it("kills a job that is fenced while its start is on its way", async () => {
    for (let round = 0; round < 20; round++) {
      run.server.assign(`f${round}`, sh("sleep 600"));
      run.server.send({ $case: "fenced", value: { attemptId: `f${round}` } });
    }
    run.server.assign("after", sh("true"));
    await run.server.result("after");
    await vi.waitFor(() => expect(childrenOf(run.spawner)).toEqual([]), 9_000);
    expect(run.server.resultsOf("f0")).toEqual([]);
  });
});

describe("the process that starts jobs", () => {
  it("takes its jobs with it when it dies: they are reported as what they are, and the agent starts the next ones itself", async () => {
    await using run = await startedWithSpawner();
    run.server.assign("a1", sh("setsid sh -c 'echo $$; exec sleep 600' & echo $$; exec sleep 600"));
    await vi.waitFor(
      () => expect(run.server.output("a1").toString().trim().split("\n")).toHaveLength(2),
      9_000,
    );
    const pids = run.server.output("a1").toString().trim().split("\n").map(Number);
    process.kill(run.spawner, "SIGKILL");
    const { failure, exitCode } = await run.server.result("a1");
    expect(exitCode).toBeUndefined();
    expect(failure).toMatchObject({
      cause: Cause.CAUSE_WORKER_DIED,
      blame: Blame.BLAME_NODE,
      userCodeMayHaveRun: true,
    });
    expect(pids.filter(alive)).toEqual([]);
    expect(run.agent.log).toContain("the spawner has died");
    run.server.assign("a2", sh("echo $PPID"));
    expect(await run.server.result("a2")).toMatchObject({ exitCode: 0 });
    await vi.waitFor(
      () => expect(run.server.output("a2").toString()).toBe(`${run.agent.child.pid}\n`),
      9_000,
    );
  });

  it("goes with its agent, also with one that was killed", async () => {
    await using run = await startedWithSpawner();
    run.agent.child.kill("SIGKILL");
    await run.agent.ended();
    await vi.waitFor(() => expect(alive(run.spawner)).toBe(false), 9_000);
  });
});

it("an agent for one job has no second process", async () => {
  await using run = await started({ slots: 1 });
  await run.server.connected();
  run.server.assign("a1", sh("echo $PPID"));
  await run.server.result("a1");
  await vi.waitFor(
    () => expect(run.server.output("a1").toString()).toBe(`${run.agent.child.pid}\n`),
    9_000,
  );
  expect(spawnerOf(run.agent.child.pid)).toBeUndefined();
});

function childrenOf(pid: number): readonly number[] {
  return listProcesses().flatMap((one) => (one.parent === pid ? one.pid : []));
}
