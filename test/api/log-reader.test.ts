import { once } from "node:events";
import { expect, test } from "vitest";
import { type LogQuery, readJobLog } from "#api/log-reader.ts";
import { attemptIdOf, jobIdOf, workerIdOf } from "#job/id.ts";
import type { Attempt, Job, JobEvent } from "#job/job.ts";
import { noSequences } from "#log/record.ts";

const attempt: Attempt = {
  id: attemptIdOf(new Uint8Array(17)),
  number: 1,
  workerId: workerIdOf(1),
  provider: "process",
  state: "running",
  assignedAt: 0,
  startedAt: 0,
  endedAt: undefined,
  exitCode: undefined,
  signal: undefined,
  failure: undefined,
  peak: undefined,
  pricePerHour: undefined,
};
const job: Job = {
  id: jobIdOf(1),
  tenant: "default",
  spec: new Uint8Array(),
  name: "job",
  labels: {},
  classKey: "",
  priority: 0,
  state: "running",
  version: 3,
  submittedAt: 0,
  stateAt: 0,
  endedAt: undefined,
  deadline: 0,
  notBefore: 0,
  attempts: [attempt],
  spentAttempts: 0,
  infraRetries: 0,
  failure: undefined,
  expiresAt: undefined,
  correlationId: "",
};
const last: JobEvent = {
  sequence: 900,
  version: 9,
  at: 0,
  state: "timed_out",
  stage: "ended",
  attempt: 0,
  workerId: undefined,
  message: "did not get a worker",
  failure: undefined,
  dropped: 800,
};

test("G19: a follow ends with a job whose attempt wrote nothing, also when its history is cut", async () => {
  const over: Job = { ...job, state: "timed_out", attempts: [{ ...attempt, state: "ended" }] };
  const query: LogQuery = {
    cursor: { ...noSequences, attempt: 0 },
    follow: true,
    tailLines: undefined,
    stream: undefined,
    attempt: 0,
    signal: new AbortController().signal,
  };
  const reading = readJobLog(job, query, {
    store: { findJob: async () => over },
    logs: {
      findLog: async () => undefined,
      async *read(_attempt, { signal }) {
        if (!signal.aborted) await once(signal, "abort");
        yield* [];
      },
    },
    scheduler: {
      watch: {
        touch: () => undefined,
        async *follow() {
          yield last;
        },
      },
    },
    logTtlMs: () => 1_000,
    now: () => 0,
  });
  expect(await reading.next()).toMatchObject({ done: true, value: { hasEnded: true } });
});
