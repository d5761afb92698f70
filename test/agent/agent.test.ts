import { readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { Blame, Cause } from "#rpc/gen/hodei/v1/job.ts";
import { alive, sh, started } from "./agent-process.ts";

// One agent for all of them: its start is most of the time that each would take.
let last = 0;
const nextId = (): string => `a${++last}`;
let run: Awaited<ReturnType<typeof started>>;

beforeAll(async () => {
  run = await started({}, { SECRET: "agent-only", LC_ALL: "C" });
  await run.server.connected();
});

afterAll(() => run[Symbol.asyncDispose]());

describe("a job", () => {
  it("runs, and its output and result arrive", async () => {
    const id = nextId();
    run.server.assign(id, sh("echo hello; echo oops >&2"));
    const result = await run.server.result(id);
    expect(result).toMatchObject({ exitCode: 0, signal: 0, failure: undefined, lastLogBatch: 1 });
    await vi.waitFor(() => expect(run.server.output(id).toString()).toBe("hello\n"));
    expect(run.server.output(id, "stderr").toString()).toBe("oops\n");
  });

  it("starts on go only", async () => {
    const id = nextId();
    run.server.assign(id, sh("echo x"), false);
    const renewals = run.server.events.filter(({ $case }) => $case === "renewal").length;
    await run.server.seen("renewal", renewals + 2);
    expect(run.server.startsOf(id)).toBe(0);
    run.server.send({ $case: "go", value: { attemptId: id } });
    expect(await run.server.result(id)).toMatchObject({ exitCode: 0 });
  });

  it.for([
    ["exit 3", sh("exit 3"), { exitCode: 3, cause: Cause.CAUSE_EXIT_CODE }],
    ["a signal", sh("kill -9 $$"), { signal: 9, cause: Cause.CAUSE_SIGNAL }],
    [
      "a missing program",
      { command: ["/no/such"] },
      { exitCode: 127, cause: Cause.CAUSE_COMMAND_NOT_FOUND },
    ],
    [
      "a program that is not executable",
      { command: ["/etc/passwd"] },
      { exitCode: 126, cause: Cause.CAUSE_NOT_EXECUTABLE },
    ],
    [
      "a missing program in a shell",
      sh("nosuchprogram"),
      { exitCode: 127, cause: Cause.CAUSE_COMMAND_NOT_FOUND },
    ],
    [
      "a missing directory",
      { ...sh("true"), workingDirectory: "/no/such" },
      { exitCode: undefined, cause: Cause.CAUSE_PREPARATION_FAILED },
    ],
    [
      "its timeout",
      { ...sh("sleep 60"), executionTimeoutMs: 100 },
      { signal: 15, cause: Cause.CAUSE_EXECUTION_TIMEOUT },
    ],
    [
      "its timeout against its will",
      {
        ...sh("trap '' TERM; while :; do sleep 0.1; done"),
        executionTimeoutMs: 100,
        cancelGraceMs: 100,
      },
      { signal: 9, cause: Cause.CAUSE_EXECUTION_TIMEOUT },
    ],
  ] as const)("ends by %s, and the result says so", async ([, spec, expected]) => {
    const id = nextId();
    run.server.assign(id, spec);
    const { cause, ...rest } = expected;
    const result = await run.server.result(id);
    expect(result).toMatchObject(rest);
    expect(result.failure?.cause).toBe(cause);
  });

  it("has a clean environment, its input, and an empty directory of its own", async () => {
    const id = nextId();
    const spec = { ...sh("env; echo cwd=$PWD; cat"), env: { MINE: "1" } };
    run.server.assign(id, { ...spec, stdin: Buffer.from("from stdin") });
    await run.server.result(id);
    await vi.waitFor(() => expect(run.server.output(id).toString()).toContain("from stdin"));
    const text = run.server.output(id).toString();
    const names = [...text.matchAll(/^(\w+)=/gm)].map(([, name]) => name);
    const shells = ["PWD", "OLDPWD", "SHLVL", "_", "cwd"];
    expect(new Set(names.filter((name) => !shells.includes(name ?? "")))).toEqual(
      new Set([
        "HODEI_ATTEMPT",
        "HODEI_JOB_ID",
        "HODEI_JOB_MARKER",
        "HOME",
        "LC_ALL",
        "MINE",
        "PATH",
      ]),
    );
    const cwd = /^cwd=(.*)$/m.exec(text)?.[1] ?? "";
    expect(cwd).toContain(run.agent.workRoot);
    expect(readdirSync(cwd)).toEqual([]);
  });

  it.for([
    ["its interpreter", { interpreter: ["sh", "-e"], content: "false\necho no" }, 1, ""],
    [
      "its first line",
      { interpreter: [], content: "#!/usr/bin/env sh\necho $0 | grep -c script" },
      0,
      "1\n",
    ],
    ["the shell", { interpreter: [], content: "echo plain" }, 0, "plain\n"],
  ] as const)("runs a script by %s", async ([, script, exitCode, output]) => {
    const id = nextId();
    run.server.assign(id, { script });
    expect(await run.server.result(id)).toMatchObject({ exitCode });
    await vi.waitFor(() => expect(run.server.output(id).toString()).toBe(output));
  });

  it("keeps every byte: invalid UTF-8 and a line of a megabyte", async () => {
    const id = nextId();
    run.server.assign(
      id,
      sh(String.raw`printf 'a\377\200b'; head -c 1000000 /dev/zero; printf 'end'`),
    );
    await run.server.result(id);
    const expected = Buffer.concat([
      Buffer.from("a\xff\x80b", "latin1"),
      Buffer.alloc(1_000_000),
      Buffer.from("end"),
    ]);
    await vi.waitFor(() => expect(run.server.output(id).length).toBe(expected.length));
    expect(run.server.output(id).equals(expected)).toBe(true);
  });

  it("can open its output by name, and has real pipes", async () => {
    const id = nextId();
    run.server.assign(
      id,
      sh("echo a > /dev/stdout; echo b > /dev/stderr; [ -p /dev/stdout ] && [ -p /dev/stderr ]"),
    );
    expect(await run.server.result(id)).toMatchObject({ exitCode: 0 });
    await vi.waitFor(() => expect(run.server.output(id).toString()).toBe("a\n"));
    expect(run.server.output(id, "stderr").toString()).toBe("b\n");
  });

  it("finds an empty directory after one that left files, and after one that left none", async () => {
    for (const script of ["ls -A; touch left .hidden; chmod 500 .", "ls -A", "ls -A; true"]) {
      const id = nextId();
      run.server.assign(id, sh(script));
      await run.server.result(id);
      expect(run.server.output(id).toString()).toBe("");
    }
  });

  it("with a spec that cannot be read ends before it began, by the system's fault", async () => {
    const id = nextId();
    run.server.assignBytes(id, Buffer.from([0xff, 0xff, 0xff]));
    const result = await run.server.result(id);
    expect(result.failure).toMatchObject({
      cause: Cause.CAUSE_PREPARATION_FAILED,
      blame: Blame.BLAME_SYSTEM,
      userCodeMayHaveRun: false,
    });
  });

  it("that was taken away while it waited for its turn does not start", async () => {
    const [id, other] = [nextId(), nextId()];
    run.server.assign(id, sh("true"), false);
    run.server.send(
      { $case: "go", value: { attemptId: id } },
      { $case: "fenced", value: { attemptId: id } },
    );
    run.server.assign(other, sh("true"));
    await run.server.result(other);
    expect(run.server.startsOf(id)).toBe(0);
  });

  it("is cancelled with its whole tree, also what left the group", async () => {
    const id = nextId();
    const tree =
      "trap '' TERM; setsid sleep 600 & echo $!; sleep 601 & echo $!; while :; do wait; done";
    run.server.assign(id, sh(tree));
    const pids = (): number[] => run.server.output(id).toString().trim().split("\n").map(Number);
    await vi.waitFor(() => expect(pids()).toHaveLength(2));
    run.server.cancel(id, 50);
    const result = await run.server.result(id);
    expect(result).toMatchObject({ signal: 9, failure: { cause: Cause.CAUSE_CANCELLED } });
    await vi.waitFor(() => expect(pids().filter(alive)).toEqual([]));
  });
});
