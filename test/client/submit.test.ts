import { describe, expect, test } from "vitest";
import { HodeiClient, HodeiClientError } from "#client/client.ts";
import { startFakeJobServer } from "../fake/job-server.ts";

const retry = { maxRetries: 2, outageMs: 5_000 };

describe("submit", () => {
  test("sends all jobs of one turn in one message, and answers each", async () => {
    await using server = await startFakeJobServer();
    await using client = new HodeiClient({ address: server.address });
    const jobs = await Promise.all(
      Array.from({ length: 20 }, (_, index) => client.submit({ command: ["echo", `${index}`] })),
    );
    expect(server.batches).toHaveLength(1);
    expect(jobs.map(({ id }) => id)).toEqual(Array.from({ length: 20 }, (_, at) => `j${at + 1}`));
    expect(server.jobs.get("j3")?.job.spec?.command).toEqual(["echo", "2"]);
  });

  test("splits by number of jobs and by bytes", async () => {
    await using server = await startFakeJobServer();
    await using client = new HodeiClient({ address: server.address });
    await Promise.all(Array.from({ length: 2_500 }, () => client.submit({ command: ["true"] })));
    expect(server.batches.map(({ jobs }) => jobs.length)).toEqual([1_000, 1_000, 500]);
    const stdin = new Uint8Array(300_000);
    await Promise.all(Array.from({ length: 7 }, () => client.submit({ command: ["cat"], stdin })));
    expect(server.batches.slice(3).map(({ jobs }) => jobs.length)).toEqual([3, 3, 1]);
  });

  test("refuses a job that fits no message, without harm to the others", async () => {
    await using server = await startFakeJobServer();
    await using client = new HodeiClient({ address: server.address });
    const good = client.submit({ command: ["true"] });
    const large = client.submit({ command: ["cat"], stdin: new Uint8Array(2_000_000) });
    await expect(large).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(good).resolves.toMatchObject({ id: "j1" });
  });

  test("gives a refused job its own error", async () => {
    await using server = await startFakeJobServer({
      refuse: ({ spec }) => (spec?.name === "bad" ? { code: 3, message: "name: bad" } : undefined),
    });
    await using client = new HodeiClient({ address: server.address });
    const [good, bad] = await Promise.allSettled([
      client.submit({ name: "good", command: ["true"] }),
      client.submit({ name: "bad", command: ["true"] }),
    ]);
    expect(good.status).toBe("fulfilled");
    expect(bad).toMatchObject({ reason: { code: "INVALID_ARGUMENT", message: "name: bad" } });
  });

  test("sends again with the same key after the stream broke, and makes one job", async () => {
    await using server = await startFakeJobServer();
    await using client = new HodeiClient({ address: server.address, retry });
    server.breaks.submits = 1;
    const job = await client.submit({ command: ["true"] });
    expect(job).toMatchObject({ id: "j1", alreadyExisted: true });
    const keys = server.batches.map(({ jobs }) => jobs[0]?.idempotencyKey);
    expect(keys).toHaveLength(2);
    expect(keys[0]).toBe(keys[1]);
    expect(keys[0]).not.toBe("");
  });

  test("does not repeat a job without a key, and says that its outcome is unknown", async () => {
    await using server = await startFakeJobServer();
    await using client = new HodeiClient({ address: server.address, retry });
    server.breaks.submits = 1;
    const outcome = client.submit({ command: ["true"] }, { idempotencyKey: false });
    await expect(outcome).rejects.toMatchObject({ code: "UNAVAILABLE", isOutcomeUnknown: true });
    expect(server.batches).toHaveLength(1);
  });

  test("gives up on a server that is not there", async () => {
    await using client = new HodeiClient({ address: "127.0.0.1:1", retry });
    const submitted = client.submit({ command: ["true"] });
    await expect(submitted).rejects.toBeInstanceOf(HodeiClientError);
    await expect(submitted).rejects.toMatchObject({
      isOutcomeUnknown: false,
      message: "cannot reach 127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1",
    });
    await expect(client.get("j1")).rejects.toMatchObject({ code: "UNAVAILABLE", grpcCode: 14 });
  });

  test("rejects when the caller aborts, or the client closes", async () => {
    await using server = await startFakeJobServer();
    const client = new HodeiClient({ address: server.address });
    await expect(
      client.submit({ command: ["true"] }, { signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: "CANCELLED" });
    const open = client.submit({ command: ["true"] });
    client.close();
    await expect(open).rejects.toMatchObject({ code: "CANCELLED" });
    await expect(client.submit({ command: ["true"] })).rejects.toMatchObject({ code: "CANCELLED" });
  });

  test("presents the token with every call", async () => {
    await using server = await startFakeJobServer();
    await using client = new HodeiClient({ address: server.address, token: "secret" });
    await client.submit({ command: ["true"] });
    expect(server.metadata[0]).toMatchObject({ authorization: "Bearer secret" });
  });
});
