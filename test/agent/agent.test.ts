import { existsSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import { Cause } from "#rpc/gen/hodei/v1/job.ts";
import { ScriptedServer } from "../fake/server.ts";
import { AgentProcess, alive, otp, sh, started } from "./agent-process.ts";

describe("redeeming", () => {
  it("repeats the same session until the server answers, also after a lost reply", async () => {
    await using run = await started({ redeem: ["unavailable", "lose"] });
    await run.server.connected();
    expect(run.server.redeems).toHaveLength(3);
    expect(new Set(run.server.redeems.map(({ session }) => session)).size).toBe(1);
    expect(run.server.redeems[0]).toMatchObject({ workerId: "w1", otp });
  });

  it("leaves with a clear error when the token is refused", async () => {
    await using run = await started({ redeem: ["refuse"] });
    expect(await run.agent.ended()).toBe(77);
    expect(run.agent.log).toContain("refused the one-time token");
    expect(run.agent.log).not.toContain(otp);
  });

  it("accepts the token in a variable with a warning", async () => {
    await using run = await started({}, { HODEI_OTP_FD: "", HODEI_OTP_TOKEN: otp });
    await run.server.connected();
    expect(run.agent.log).toContain("HODEI_OTP_TOKEN can be read");
    expect(run.agent.log).not.toContain(otp);
  });

  it("leaves after its tolerance when nobody answers", async () => {
    await using server = await ScriptedServer.open();
    server.drop();
    await using agent = AgentProcess.start(server, { HODEI_DISCONNECT_TOLERANCE_MS: "300" });
    expect(await agent.ended()).toBe(69);
  });
});

describe("a job", () => {
  it("runs, and its output and result arrive", async () => {
    await using run = await started();
    await run.server.connected();
    run.server.assign("a1", sh("echo hello; echo oops >&2"));
    const result = await run.server.result("a1");
    expect(result).toMatchObject({ exitCode: 0, signal: 0, failure: undefined, lastLogBatch: 1 });
    await vi.waitFor(() => expect(run.server.output("a1").toString()).toBe("hello\n"));
    expect(run.server.output("a1", "stderr").toString()).toBe("oops\n");
  });

  it("starts on go only", async () => {
    await using run = await started();
    await run.server.connected();
    run.server.assign("a1", sh("echo x"), false);
    await run.server.seen("renewal", run.server.events.length + 2);
    expect(run.server.events.map(({ $case }) => $case)).not.toContain("started");
    run.server.send({ $case: "go", value: { attemptId: "a1" } });
    expect(await run.server.result("a1")).toMatchObject({ exitCode: 0 });
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
        ...sh("trap '' TERM; while :; do sleep 1; done"),
        executionTimeoutMs: 200,
        cancelGraceMs: 100,
      },
      { signal: 9, cause: Cause.CAUSE_EXECUTION_TIMEOUT },
    ],
  ] as const)("ends by %s, and the result says so", async ([, spec, expected]) => {
    await using run = await started();
    await run.server.connected();
    run.server.assign("a1", spec);
    const { cause, ...rest } = expected;
    const result = await run.server.result("a1");
    expect(result).toMatchObject(rest);
    expect(result.failure?.cause).toBe(cause);
  });

  it("has a clean environment, its input, and a directory of its own that is removed", async () => {
    await using run = await started({}, { SECRET: "agent-only", LC_ALL: "C" });
    await run.server.connected();
    const spec = { ...sh("env; echo cwd=$PWD; cat"), env: { MINE: "1" } };
    run.server.assign("a1", { ...spec, stdin: Buffer.from("from stdin") });
    await run.server.result("a1");
    await vi.waitFor(() => expect(run.server.output("a1").toString()).toContain("from stdin"));
    const text = run.server.output("a1").toString();
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
    await vi.waitFor(() => expect(existsSync(cwd)).toBe(false));
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
    await using run = await started();
    await run.server.connected();
    run.server.assign("a1", { script });
    expect(await run.server.result("a1")).toMatchObject({ exitCode });
    await vi.waitFor(() => expect(run.server.output("a1").toString()).toBe(output));
  });

  it("keeps every byte: invalid UTF-8 and a line of a megabyte", async () => {
    await using run = await started();
    await run.server.connected();
    run.server.assign(
      "a1",
      sh(String.raw`printf 'a\377\200b'; head -c 1000000 /dev/zero; printf 'end'`),
    );
    await run.server.result("a1");
    const expected = Buffer.concat([
      Buffer.from("a\xff\x80b", "latin1"),
      Buffer.alloc(1_000_000),
      Buffer.from("end"),
    ]);
    await vi.waitFor(() => expect(run.server.output("a1").length).toBe(expected.length));
    expect(run.server.output("a1").equals(expected)).toBe(true);
  });

  it("ends when its process does, also when others hold its pipes", async () => {
    await using run = await started();
    await run.server.connected();
    run.server.assign("a1", sh("setsid sleep 600 & echo $!"));
    expect(await run.server.result("a1")).toMatchObject({ exitCode: 0 });
    const pid = Number(run.server.output("a1").toString());
    await vi.waitFor(() => expect(alive(pid)).toBe(false), { timeout: 5_000 });
  });
});
