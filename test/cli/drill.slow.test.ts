import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Measured, startMeasured } from "../metrics/ground.ts";
import { FakeUser } from "./host.ts";

let measured: Measured;
beforeAll(async () => {
  measured = await startMeasured({ HODEI_PROCESS_MAX_WORKERS: "4" });
});
afterAll(async () => measured[Symbol.asyncDispose]());

interface Printed {
  readonly ok: boolean;
  readonly rows: readonly {
    readonly fault: string;
    readonly result: string;
    readonly reported: string;
    readonly seconds?: number;
    readonly reason: string;
    readonly jobId?: string;
  }[];
}

test("every fault of a job on this machine is told as it is", async () => {
  const user = new FakeUser();
  const exit = await user.run("drill", "-s", measured.server.address, "-o", "json");
  const { ok, rows } = JSON.parse(user.stdout.text) as Printed;
  expect({ ok, exit, stderr: user.stderr.text }).toEqual({ ok: true, exit: 0, stderr: "" });
  const results = new Map(rows.map((row) => [row.fault, row]));
  expect(rows.filter(({ result }) => result === "fail")).toEqual([]);
  for (const [fault, reported] of [
    ["exit-code", "exit_code (user)"],
    ["signal", "signal (user)"],
    ["command-not-found", "command_not_found (user)"],
    ["timeout", "execution_timeout (user)"],
    ["cancel", "cancelled (user)"],
    ["token-replay", "UNAUTHENTICATED"],
  ] as const) {
    expect(results.get(fault)).toMatchObject({ result: "pass", reported });
  }
  expect(results.get("agent-killed")?.reported).toMatch(/^worker_died /);
  expect(results.get("unschedulable")?.reported).toMatch(/^no_provider /);
  for (const { result, seconds, reason } of rows) {
    if (result === "pass") expect(seconds).toBeGreaterThanOrEqual(0);
    else expect(reason).not.toBe("");
  }
  expect(results.get("image-not-found")).toMatchObject({ result: "skip" });
  // Nothing of it goes on.
  for (const { jobId } of rows) {
    if (jobId !== undefined) expect((await measured.client.wait(jobId)).isFinal).toBe(true);
  }
});

describe("hodei drill", () => {
  test("does what it is asked for, and prints a table", async () => {
    const user = new FakeUser();
    const only = ["--only", "exit-code,image-not-found", "--provider", "process"];
    expect(await user.run("drill", "-s", measured.server.address, ...only)).toBe(0);
    expect(user.stdout.text).toMatch(/^RESULT +PROVIDER +FAULT/);
    expect(user.stdout.text).toMatch(/^pass +process +exit-code +exit_code \(user\) +exit_code/m);
    expect(user.stdout.text).toMatch(/^skip +process +image-not-found .*has no images$/m);
    expect(user.stdout.text).toContain("1 passed, 0 failed, 1 not applicable");
    expect(user.stdout.text).toContain("kill -KILL the server");
  });

  test("ends with 1 when something is not told in time", async () => {
    const user = new FakeUser();
    const only = ["--only", "cancel", "--patience", "1ms"];
    expect(await user.run("drill", "-s", measured.server.address, ...only)).toBe(1);
    expect(user.stdout.text).toMatch(/^fail +process +cancel .*nothing was told in time/m);
  });

  test.for([
    [["--only", "earthquake"], '--only: "earthquake" is none of exit-code, signal'],
    [["--provider", "moon"], '--provider: "moon" is none of process'],
  ] as const)("refuses %j", async ([args, complaint]) => {
    const user = new FakeUser();
    expect(await user.run("drill", "-s", measured.server.address, ...args)).toBe(64);
    expect(user.stderr.text).toContain(complaint);
  });
});
