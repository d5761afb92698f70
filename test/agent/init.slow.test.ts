import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { initScript } from "#agent/init.ts";

/** The script that stands in for init where the agent would be the first process, with a program in the agent's place. */
function start(program: string) {
  const child = spawn("/bin/sh", ["-c", initScript, "hodei-init", "sh", "-c", program]);
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  return {
    child,
    output: () => output,
    async code(): Promise<number | null> {
      if (child.exitCode === null) await once(child, "close");
      return child.exitCode;
    },
  };
}

const untilTerm = "trap 'echo term; exit 7' TERM; echo up; while :; do sleep 0.05; done";

describe("the agent's init", () => {
  it("ends with the agent's code", async () => {
    expect(await start("exit 3").code()).toBe(3);
    expect(await start("exit 0").code()).toBe(0);
    expect(await start("kill -9 $$").code()).toBe(137);
  });

  it("passes signals on, waits for the agent's own end, and gives its code", async () => {
    const run = start(untilTerm);
    await expect.poll(run.output).toBe("up\n");
    run.child.kill("SIGTERM");
    expect(await run.code()).toBe(7);
    expect(run.output()).toBe("up\nterm\n");
  });

  it("leaves standard input to the agent", async () => {
    const run = start("cat");
    run.child.stdin.end("a token");
    expect(await run.code()).toBe(0);
    expect(run.output()).toBe("a token");
  });

  it("passes every signal on", async () => {
    const run = start(
      "n=0; trap 'n=$((n+1)); echo $n; [ $n = 2 ] && exit 5' TERM; echo up; while :; do sleep 0.05; done",
    );
    await expect.poll(run.output).toBe("up\n");
    run.child.kill("SIGTERM");
    await expect.poll(run.output).toBe("up\n1\n");
    run.child.kill("SIGTERM");
    expect(await run.code()).toBe(5);
  });
});
