import { describe, expect, test } from "vitest";
import { HodeiClient, type LogRecord } from "#client/client.ts";
import { JobState } from "#rpc/gen/hodei/v1/job.ts";
import { gap, lines, startFakeJobServer } from "../fake/job-server.ts";

const logs = [
  lines(1, 1, ["one\n", "two\n"]),
  lines(2, 1, ["oops\n"]),
  lines(1, 3, ["three\n", "\xff\x00"]),
  gap(1, 5, 10),
  lines(1, 15, ["end\n"]),
];
const retry = { maxRetries: 2, outageMs: 5_000 };

async function textsOf(records: AsyncIterable<LogRecord>): Promise<string[]> {
  const texts: string[] = [];
  for await (const { stream, sequence, data, gap: missing } of records) {
    const text = missing === undefined ? Buffer.from(data).toString("latin1") : missing.reason;
    texts.push(`${stream} ${sequence} ${text}`);
  }
  return texts;
}

const wanted = [
  "stdout 1 one\n",
  "stdout 2 two\n",
  "stderr 1 oops\n",
  "stdout 3 three\n",
  "stdout 4 \xff\x00",
  "stdout 5 quota",
  "stdout 15 end\n",
];

describe("logs", () => {
  test("gives every record as it was written", async () => {
    await using server = await startFakeJobServer({ play: () => ({ logs }) });
    await using client = new HodeiClient({ address: server.address });
    const { id } = await client.submit({ command: ["x"] });
    expect(await textsOf(client.logs(id, { follow: true }))).toEqual(wanted);
    expect(await textsOf(client.logs(id, { stream: "stderr" }))).toEqual(["stderr 1 oops\n"]);
  });

  test("goes on behind the last record after every break, without a duplicate", async () => {
    await using server = await startFakeJobServer({ play: () => ({ logs }) });
    await using client = new HodeiClient({ address: server.address, retry });
    const { id } = await client.submit({ command: ["x"] });
    server.breaks.messagesBeforeBreak = 1;
    expect(await textsOf(client.logs(id, { follow: true, tail: 100 }))).toEqual(wanted);
    expect(server.follows.length).toBeGreaterThan(2);
    expect(server.follows[0]).toMatchObject({ tailLines: 100, cursor: undefined });
    expect(server.follows[1]).toMatchObject({ tailLines: 0, cursor: { attempt: 1, stdout: 2 } });
  });

  test("can be resumed by the cursor of a record", async () => {
    await using server = await startFakeJobServer({ play: () => ({ logs }) });
    await using client = new HodeiClient({ address: server.address });
    const { id } = await client.submit({ command: ["x"] });
    let cursor: LogRecord["cursor"] | undefined;
    for await (const record of client.logs(id)) {
      cursor = record.cursor;
      if (record.sequence === 3) break;
    }
    expect(await textsOf(client.logs(id, { cursor }))).toEqual(wanted.slice(4));
  });

  test("ends with an error when the caller aborts", async () => {
    await using server = await startFakeJobServer({
      play: () => ({ logs, states: [JobState.JOB_STATE_RUNNING] }),
    });
    await using client = new HodeiClient({ address: server.address });
    const { id } = await client.submit({ command: ["x"] });
    const abort = new AbortController();
    const seen: string[] = [];
    await expect(async () => {
      for await (const record of client.logs(id, { follow: true, signal: abort.signal })) {
        seen.push(record.stream);
        if (seen.length === wanted.length) abort.abort();
      }
    }).rejects.toMatchObject({ code: "CANCELLED" });
    expect(seen).toHaveLength(wanted.length);
  });
});

describe("watch", () => {
  const states = [
    JobState.JOB_STATE_QUEUED,
    JobState.JOB_STATE_STARTING,
    JobState.JOB_STATE_RUNNING,
    JobState.JOB_STATE_SUCCEEDED,
  ];

  test("gives every event once, across breaks, and ends after the final one", async () => {
    await using server = await startFakeJobServer({ play: () => ({ states }) });
    await using client = new HodeiClient({ address: server.address, retry });
    const { id } = await client.submit({ command: ["x"] });
    server.breaks.messagesBeforeBreak = 1;
    const seen: string[] = [];
    for await (const { sequence, state } of client.watch(id)) seen.push(`${sequence} ${state}`);
    expect(seen).toEqual(["1 queued", "2 starting", "3 running", "4 succeeded"]);
    expect(server.watches.map(({ afterSequence }) => afterSequence)).toEqual([0, 1, 2, 3]);
  });

  test("wait resolves with the final job", async () => {
    await using server = await startFakeJobServer({
      play: () => ({ states: states.slice(0, 3), exitCode: 3 }),
    });
    await using client = new HodeiClient({ address: server.address });
    const { id } = await client.submit({ command: ["x"], timeoutMs: 1500 });
    const final = client.wait(id);
    server.move(id, JobState.JOB_STATE_FAILED);
    expect(await final).toMatchObject({ id, state: "failed", isFinal: true, exitCode: 3 });
    expect((await client.get(id)).spec).toMatchObject({ command: ["x"], timeoutMs: 1500 });
  });

  test("wait sits out an outage that comes with the end of the job", async () => {
    await using server = await startFakeJobServer({ play: () => ({ states, exitCode: 0 }) });
    await using client = new HodeiClient({ address: server.address, retry });
    const { id } = await client.submit({ command: ["x"] });
    server.breaks.unansweredCalls = retry.maxRetries + 2;
    expect(await client.wait(id)).toMatchObject({ id, isFinal: true });
  });

  test("an unknown job is an error with its gRPC code", async () => {
    await using server = await startFakeJobServer();
    await using client = new HodeiClient({ address: server.address });
    await expect(client.wait("nope")).rejects.toMatchObject({ code: "NOT_FOUND", grpcCode: 5 });
  });
});

describe("calls", () => {
  test("are repeated while the server is unavailable", async () => {
    await using server = await startFakeJobServer();
    await using client = new HodeiClient({ address: server.address, retry });
    const { id } = await client.submit({ command: ["x"] });
    server.breaks.unansweredCalls = 2;
    expect(await client.get(id)).toMatchObject({ id });
  });

  test("list walks over all pages", async () => {
    await using server = await startFakeJobServer();
    await using client = new HodeiClient({ address: server.address });
    for (let count = 0; count < 5; count++) await client.submit({ command: ["x"] });
    const ids: string[] = [];
    for await (const { id } of client.list()) ids.push(id);
    expect(ids).toEqual(["j5", "j4", "j3", "j2", "j1"]);
  });
});
