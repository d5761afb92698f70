import { describe, expect, test, vi } from "vitest";
import { failureToWire } from "#rpc/failure.ts";
import type { Failure } from "#job/failure.ts";
import { JobState } from "#rpc/gen/hodei/v1/job.ts";
import {
  type FakeJobServer,
  gap,
  lines,
  type Play,
  startFakeJobServer,
} from "../fake/job-server.ts";
import { FakeUser } from "./host.ts";

const { JOB_STATE_QUEUED, JOB_STATE_RUNNING, JOB_STATE_SUCCEEDED, JOB_STATE_FAILED } = JobState;
const logs = [lines(1, 1, ["one\n", "\x1b[31m\xff\n"]), lines(2, 1, ["oops\n"]), gap(1, 3, 7)];

function failing(fields: Partial<Failure>) {
  return failureToWire({
    stage: "running",
    cause: "exit_code",
    blame: "user",
    message: "the process ended with exit code 3",
    userCodeMayHaveRun: true,
    evidence: { exit_code: "3" },
    ...fields,
  });
}

function startServer(play: Play): Promise<FakeJobServer> {
  return startFakeJobServer({ play: () => play });
}

describe("hodei run", () => {
  test("passes the job's output through, byte by byte", async () => {
    await using server = await startServer({ logs });
    const user = new FakeUser();
    expect(await user.run("run", "-s", server.address, "--", "echo", "-n", "--help")).toBe(0);
    expect(user.stdout.bytes.toString("latin1")).toBe("one\n\x1b[31m\xff\n");
    expect(user.stderr.text).toBe(
      "oops\nhodei: 7 records of stdout (2.0 KiB) are missing: quota\n",
    );
    expect(server.jobs.get("j1")?.job.spec?.command).toEqual(["echo", "-n", "--help"]);
  });

  test("tells what keeps the job waiting, once, where there is no terminal", async () => {
    const trouble = (message: string) =>
      failing({ stage: "pulling", cause: "start_failed", message });
    const troubles = ["no such host", "no such host", "bad\x1b[31m"].map(trouble);
    await using server = await startServer({ logs: [], troubles });
    const user = new FakeUser();
    expect(await user.run("run", "-s", server.address, "--", "true")).toBe(0);
    expect(user.stderr.text).toBe("hodei: j1 waits: no such host\nhodei: j1 waits: bad\\x1b[31m\n");
    const json = new FakeUser();
    expect(await json.run("run", "-o", "json", "-s", server.address, "--", "true")).toBe(0);
    expect(json.stderr.text).toBe("");
  });

  test("escapes it on a terminal, unless it is asked not to", async () => {
    await using server = await startServer({ logs });
    const escaped = new FakeUser({ isTerminal: true });
    await escaped.run("-s", server.address, "run", "--", "x");
    expect(escaped.stdout.text).toBe("one\n\\x1b[31m\ufffd\n");
    const raw = new FakeUser({ isTerminal: true });
    await raw.run("run", "--raw", "-s", server.address, "--", "x");
    expect(raw.stdout.bytes.toString("latin1")).toBe("one\n\x1b[31m\xff\n");
  });

  test.for([
    ["its exit code", { exitCode: 3, failure: failing({}) }, JOB_STATE_FAILED, 3],
    [
      "127 for a command that is not there",
      { exitCode: 127, failure: failing({ cause: "command_not_found" }) },
      JOB_STATE_FAILED,
      127,
    ],
    [
      "75 for what is not the user's doing",
      { failure: failing({ cause: "worker_lost", blame: "node" }) },
      JOB_STATE_FAILED,
      75,
    ],
    [
      "124 when it timed out",
      { exitCode: 143, failure: failing({ cause: "execution_timeout" }) },
      JobState.JOB_STATE_TIMED_OUT,
      124,
    ],
    ["130 when it was cancelled", {}, JobState.JOB_STATE_CANCELLED, 130],
    ["0 when it succeeded", { exitCode: 0 }, JOB_STATE_SUCCEEDED, 0],
  ] as const)("ends with %s", async ([_, play, state, exit]) => {
    await using server = await startServer({ ...play, states: [JOB_STATE_QUEUED, state] });
    const user = new FakeUser();
    expect(await user.run("run", "-s", server.address, "--", "x")).toBe(exit);
  });

  test("says in one line why a job failed", async () => {
    const failure = failing({ cause: "command_not_found", message: "no \x1bsuch program" });
    await using server = await startServer({ failure, states: [JOB_STATE_FAILED] });
    const user = new FakeUser();
    await user.run("run", "-s", server.address, "--", "x");
    expect(user.stderr.text).toBe(
      "hodei: job j1 failed: no \\x1bsuch program (stage running, cause command_not_found, blame user, " +
        "exit_code=3); a command is started without a shell: try -- sh -c '…'\n",
    );
  });

  test("--local runs on a control plane of its own, which ends with it", async () => {
    await using server = await startServer({ logs });
    let hasEnded = false;
    let isLogKept = false;
    const startLocalServer = () =>
      Promise.resolve({
        address: server.address,
        keepLog: () => ((isLogKept = true), "/tmp/server.log"),
        [Symbol.asyncDispose]: () => Promise.resolve(void (hasEnded = true)),
      });
    const user = new FakeUser({ host: { startLocalServer, env: { HODEI_SERVER: "127.0.0.1:1" } } });
    expect(await user.run("run", "--local", "--", "x")).toBe(0);
    expect([hasEnded, isLogKept]).toEqual([true, false]);
  });

  test("--local leaves its log behind when infrastructure failed", async () => {
    const failure = failing({ cause: "start_failed", blame: "provider" });
    await using server = await startServer({ failure, states: [JOB_STATE_FAILED] });
    const startLocalServer = () =>
      Promise.resolve({
        address: server.address,
        keepLog: () => "/tmp/server.log",
        [Symbol.asyncDispose]: () => Promise.resolve(),
      });
    const user = new FakeUser({ host: { startLocalServer } });
    expect(await user.run("run", "--local", "--", "x")).toBe(75);
    expect(user.stderr.text).toContain("the control plane's log is in /tmp/server.log");
  });

  test("cancels the job at the first Ctrl-C", async () => {
    await using server = await startServer({ states: [JOB_STATE_RUNNING] });
    const user = new FakeUser();
    const exit = user.run("run", "-s", server.address, "--", "x");
    await vi.waitFor(() => expect(server.follows).toHaveLength(1));
    user.interrupt();
    expect(await exit).toBe(130);
    expect(server.jobs.get("j1")?.job.state).toBe(JobState.JOB_STATE_CANCELLED);
    expect(user.stderr.text).toContain("cancelling j1");
  });

  test("leaves at the second Ctrl-C", async () => {
    await using server = await startServer({ states: [JOB_STATE_RUNNING] });
    server.ignoresCancel = true;
    const user = new FakeUser();
    const exit = user.run("run", "-s", server.address, "--", "x");
    await vi.waitFor(() => expect(server.follows).toHaveLength(1));
    user.interrupt();
    user.interrupt();
    expect(await exit).toBe(130);
    expect(user.stderr.text).toContain("left j1 to itself");
  });

  test("shows on a terminal what a job waits for", async () => {
    await using server = await startServer({ states: [JOB_STATE_QUEUED] });
    const user = new FakeUser({ isTerminal: true });
    const exit = user.run("run", "-s", server.address, "--", "x");
    await vi.waitFor(() => expect(user.stderr.text).toContain("j1 0.1s  moved to 1"));
    server.move("j1", JOB_STATE_SUCCEEDED);
    expect(await exit).toBe(0);
    expect(user.stderr.text.endsWith("\r\x1b[K")).toBe(true);
  });

  test("writes one JSON document a line when asked", async () => {
    await using server = await startServer({ logs, exitCode: 0 });
    const user = new FakeUser();
    expect(await user.run("run", "-s", server.address, "-o", "json", "--", "x")).toBe(0);
    const documents = user.stdout.text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(documents[0]).toEqual({ type: "submitted", jobId: "j1" });
    expect(documents).toContainEqual(
      expect.objectContaining({ type: "log", stream: "stdout", sequence: 1, text: "one\n" }),
    );
    expect(documents).toContainEqual(
      expect.objectContaining({ sequence: 2, base64: "G1szMW3/Cg==" }),
    );
    expect(documents.at(-1)).toMatchObject({ type: "result", exit: 0, job: { id: "j1" } });
  });

  test("carries every flag into the spec", async () => {
    await using server = await startServer({});
    const user = new FakeUser();
    const flags =
      "--name n --env A=1 -e B=2=3 --cwd /tmp --label team=a --annotation note=x --cpu 500m --memory 128Mi " +
      "--disk 1Gi --gpu a100:1 --image img --priority high --queue-timeout 1h --timeout 90s --grace 5s " +
      "--disconnect-tolerance 1m --reschedule never --max-attempts 3 --retry-backoff 2s --retry-max-backoff 1m " +
      "--retry-multiplier 1.5 --retry-exit-codes 1,75 --retry-lost --provider process --log-ttl 2d " +
      "--idempotency-key key --stdin -";
    expect(await user.run("submit", "-s", server.address, ...flags.split(" "), "cat", "-v")).toBe(
      0,
    );
    expect(user.stdout.text).toBe("j1\n");
    expect(server.batches[0]?.jobs[0]?.idempotencyKey).toBe("key");
    expect(server.jobs.get("j1")?.job.spec).toMatchObject({
      name: "n",
      command: ["cat", "-v"],
      env: { A: "1", B: "2=3" },
      workingDirectory: "/tmp",
      stdin: Buffer.from("typed"),
      labels: { team: "a" },
      annotations: { note: "x" },
      resources: { cpuMillis: 500, memoryBytes: 2 ** 27, diskBytes: 2 ** 30, gpuCount: 1 },
      image: "img",
      priority: 100,
      queueTimeout: { seconds: 3600 },
      executionTimeout: { seconds: 90 },
      cancelGrace: { seconds: 5 },
      disconnectTolerance: { seconds: 60 },
      reschedule: 2,
      retry: { maxAttempts: 3, multiplier: 1.5, retryableExitCodes: [1, 75], retryLost: true },
      provider: { name: "process", strict: true },
      logTtl: { seconds: 172_800 },
    });
  });
});
