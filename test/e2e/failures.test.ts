import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { HodeiClient, SubmitSpec } from "#client/client.ts";
import { note, readLedger } from "./ledger.ts";
import { clientForTest, ServerProcess, startForTest } from "./server-process.ts";

let server: ServerProcess;
let client: HodeiClient;

beforeAll(async () => {
  server = await ServerProcess.start({ HODEI_PROCESS_MAX_WORKERS: "4" });
  client = server.client();
});

afterAll(async () => {
  await client[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

interface Case {
  readonly what: string;
  readonly spec: SubmitSpec;
  readonly job: object;
}

const user = { blame: "user", userCodeMayHaveRun: true, stage: "running" };
const unstarted = { blame: "user", userCodeMayHaveRun: false, stage: "preparing" };

const cases: readonly Case[] = [
  {
    what: "an exit code",
    spec: { command: ["sh", "-c", "exit 42"] },
    job: {
      exitCode: 42,
      failure: { ...user, cause: "exit_code", evidence: { exit_code: "42" } },
    },
  },
  {
    what: "a signal",
    spec: { command: ["sh", "-c", "kill -SEGV $$"] },
    job: {
      exitCode: undefined,
      attempts: [{ signal: 11 }],
      failure: { ...user, cause: "signal", evidence: { signal: "SIGSEGV" } },
    },
  },
  {
    what: "a file that is no program",
    spec: { command: ["/etc/passwd"] },
    job: { exitCode: 126, failure: { ...unstarted, cause: "not_executable" } },
  },
  {
    what: "a program that is not there",
    spec: { command: ["no-such-program-anywhere"] },
    job: { exitCode: 127, failure: { ...unstarted, cause: "command_not_found" } },
  },
  {
    what: "a shell's command that is not there",
    spec: { script: "no-such-program-anywhere" },
    job: { exitCode: 127, failure: { ...user, cause: "command_not_found" } },
  },
  {
    what: "a working directory that is not there",
    spec: { command: ["true"], workingDirectory: "/no/such/directory" },
    job: { exitCode: undefined, failure: { ...unstarted, cause: "preparation_failed" } },
  },
];

test.for(cases)("G23 $what is told with its stage, cause and blame", async ({ spec, job }) => {
  const { id } = await client.submit(spec);
  const found = await client.wait(id);
  expect(found.state).toBe("failed");
  expect(found).toMatchObject(job);
  expect(found.failure?.message).not.toBe("");
  expect(found.attempts).toHaveLength(1);
});

test("G7 a job that runs for too long times out, also when it ignores TERM", async () => {
  const script = `trap '' TERM; while :; do sleep 0.05; done`;
  const { id } = await client.submit({ script, timeoutMs: 400, cancelGraceMs: 200 });
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "timed_out", failure: { cause: "execution_timeout" } });
  expect(job.failure?.userCodeMayHaveRun).toBe(true);
  await server.isEmpty();
});

test("G7 a job that nobody can take times out in the queue, and says why", async () => {
  const idle = await startForTest({ HODEI_PROCESS_ENABLED: "0" });
  const other = clientForTest(idle);
  const { id } = await other.submit({ command: ["true"], queueTimeoutMs: 300 });
  const job = await other.wait(id);
  expect(job).toMatchObject({ state: "timed_out", attempts: [] });
  expect(job.failure).toMatchObject({ cause: "queue_timeout", userCodeMayHaveRun: false });
});

test("a job is repeated as often as its policy says, one run after another", async () => {
  const ledger = join(server.directory, "retries");
  const script = `${note("start", ledger)}\n${note("stop", ledger)}\n[ "$HODEI_ATTEMPT" -eq 3 ]`;
  const retry = { maxAttempts: 5, initialBackoffMs: 100, multiplier: 2 };
  const { id } = await client.submit({ script, retry });
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "succeeded", exitCode: 0 });
  expect(job.attempts.map(({ exitCode }) => exitCode)).toEqual([1, 1, 0]);
  expect(readLedger(ledger).map(({ word, attempt }) => `${word} ${attempt}`)).toEqual(
    [1, 2, 3].flatMap((attempt) => [`start ${attempt}`, `stop ${attempt}`]),
  );
  const ids = new Set(job.attempts.map((attempt) => attempt.id));
  expect(ids.size).toBe(3);
});

test("a job is not repeated for an exit code that its policy does not name", async () => {
  const retry = { maxAttempts: 3, initialBackoffMs: 50, retryableExitCodes: [7] };
  const ends = await Promise.all(
    [7, 8].map(async (code) => {
      const { id } = await client.submit({ command: ["sh", "-c", `exit ${code}`], retry });
      return client.wait(id);
    }),
  );
  expect(ends.map(({ state, attempts }) => [state, attempts.length])).toEqual([
    ["failed", 3],
    ["failed", 1],
  ]);
});
