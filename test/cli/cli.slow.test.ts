import { execFile, spawnSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { lines, startFakeJobServer } from "../fake/job-server.ts";
import { FakeUser } from "./host.ts";

const main = join(import.meta.dirname, "../../src/main.ts");

describe("hodei", () => {
  test.for([
    [["run"], "give either a command (after --) or --script"],
    [["run", "--script", "a", "--", "b"], "give either a command (after --) or --script"],
    [["run", "--script", "/nowhere/x"], "--script: cannot read /nowhere/x (ENOENT)"],
    [["run", "--timeout", "soon", "--", "x"], "option '--timeout <duration>' argument 'soon'"],
    [["run", "--env", "A", "--", "x"], `"A" is not KEY=VALUE`],
    [["run", "--memory", "lots", "--", "x"], "option '--memory <size>'"],
    [["run", "--retry-lost", "--", "x"], "need --max-attempts"],
    [["run", "--no-such-flag"], "unknown option '--no-such-flag'"],
    [["jobs", "list", "--state", "gone"], `"gone" is none of queued, starting`],
    [["--server", "nowhere", "jobs", "list"], `--server: "nowhere" is not HOST:PORT`],
    [["--server", "a:1,b", "jobs", "list"], `--server: "b" is not HOST:PORT`],
    [["tokens", "create", "--subject", "x"], "required option '--tenant <name>'"],
    [["jobs", "get"], "missing required argument 'job'"],
    [["fly"], "unknown command 'fly'"],
    [["--cert", "x", "jobs", "list"], "--cert and --key are given together"],
  ] as const)("%j is a wrong command line", async ([argv, complaint]) => {
    const user = new FakeUser();
    expect(await user.run(...argv)).toBe(64);
    expect(user.stderr.text).toContain(complaint);
    expect(user.stdout.text).toBe("");
  });

  test("ends with 69 when the server cannot be reached", async () => {
    const user = new FakeUser();
    expect(await user.run("jobs", "get", "j1", "--server", "127.0.0.1:1", "-o", "json")).toBe(69);
    expect(JSON.parse(user.stderr.text)).toMatchObject({ error: { code: "UNAVAILABLE" } });
  });

  test("ends with 1 for a job that is not there", async () => {
    await using server = await startFakeJobServer();
    const user = new FakeUser({ host: { env: { HODEI_SERVER: server.address } } });
    expect(await user.run("jobs", "get", "j9")).toBe(1);
    expect(user.stderr.text).toBe("hodei: no such job\n");
  });

  test("lists, shows, watches, explains and cancels jobs", async () => {
    await using server = await startFakeJobServer({ play: () => ({ states: [1, 3] }) });
    const ask = async (...argv: string[]): Promise<string> => {
      const user = new FakeUser({ host: { env: { HODEI_SERVER: server.address } } });
      expect(await user.run(...argv)).toBe(0);
      return user.stdout.text;
    };
    for (const name of ["a", "b", "c"]) await ask("submit", "--name", name, "--", "x");
    expect(await ask("jobs", "list", "--limit", "2")).toMatch(/^JOB .*\nj3 .* c\nj2 .* b\n$/s);
    const listed = JSON.parse(await ask("jobs", "list", "-o", "json")) as { id: string }[];
    expect(listed.map(({ id }) => id)).toEqual(["j3", "j2", "j1"]);
    expect(await ask("jobs", "get", "j1")).toMatch(/^command: +\["x"\]$/m);
    expect(await ask("jobs", "explain", "j1")).toContain("no worker is free");
    const table = /PRICE\/H +STARTS IN +CIRCUIT.*\na .* 0\.25 +12s +closed.*\nb /s;
    expect(await ask("jobs", "explain", "j1")).toMatch(table);
    expect(await ask("submit", "--dry-run", "--", "x")).toMatch(table);
    expect(await ask("jobs", "list", "--limit", "9")).not.toContain("j4");
    expect(await ask("jobs", "cancel", "j1", "j2")).toBe("j1 cancelled\nj2 cancelled\n");
    expect(await ask("jobs", "watch", "j1")).toMatch(/queued.*\n.*running.*\n.*cancelled.*\n$/);
  });

  test("shows a log with times, by stream, from its tail", async () => {
    await using server = await startFakeJobServer({
      play: () => ({ logs: [lines(1, 1, ["on", "e\n", "two\n"]), lines(2, 1, ["oops\n"])] }),
    });
    const user = new FakeUser({ host: { env: { HODEI_SERVER: server.address } } });
    await user.run("submit", "x");
    expect(await user.run("logs", "-f", "-n", "3", "-t", "--stream", "stdout", "j1")).toBe(0);
    const time = "2023-11-14T22:13:20.000Z";
    expect(user.stdout.text).toBe(`j1\n${time} one\n${time} two\n`);
    expect(server.follows[0]).toMatchObject({ follow: true, tailLines: 3, stream: 1 });
  });

  test("reads the token from a flag, a file or the environment", async () => {
    await using server = await startFakeJobServer();
    const env = { HODEI_SERVER: server.address, HODEI_TOKEN: "from-env" };
    await new FakeUser({ host: { env } }).run("submit", "x");
    await new FakeUser({ host: { env } }).run("--token", "from-flag", "submit", "x");
    expect(server.metadata.map(({ authorization }) => authorization)).toEqual([
      "Bearer from-env",
      "Bearer from-flag",
    ]);
  });

  test.for(["bash", "zsh", "fish"])("completes in %s", async (shell) => {
    const user = new FakeUser();
    expect(await user.run("completion", shell)).toBe(0);
    expect(user.stdout.text).toContain("--idempotency-key");
    if (shell === "fish") return;
    const script = `${user.stdout.text.replace(/^#compdef.*\n.*\n/, "")}
      COMP_WORDS=(hodei jobs l); COMP_CWORD=2; _hodei; echo "\${COMPREPLY[@]}"`;
    expect(spawnSync("bash", ["-c", script], { encoding: "utf8" }).stdout).toBe("list\n");
  });

  test("is a process with an exit code", async () => {
    await using server = await startFakeJobServer({
      play: () => ({ logs: [lines(1, 1, ["hi\n"])] }),
    });
    const call = promisify(execFile);
    const argv = [main, "run", "--server", server.address, "--", "x"];
    expect(await call(process.execPath, argv)).toMatchObject({ stdout: "hi\n", stderr: "" });
    await expect(call(process.execPath, [main, "run"])).rejects.toMatchObject({ code: 64 });
    expect((await call(process.execPath, [main, "--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
