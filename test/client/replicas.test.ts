import { describe, expect, test } from "vitest";
import { HodeiClient } from "#client/client.ts";
import { lines, startFakeJobServer } from "../fake/job-server.ts";

// Nobody listens there. Wherever a client begins, some of its calls meet it.
const dead = "127.0.0.1:1";
const logs = [1, 2, 3].map((at) => lines(1, at, [`line ${at}\n`]));
const retry = { maxRetries: 0, outageMs: 0 };

describe("a client that knows several replicas", () => {
  test("asks the next one when one cannot be reached, although it repeats nothing otherwise", async () => {
    await using server = await startFakeJobServer({ play: () => ({ logs }) });
    for (const address of [`${dead},${server.address}`, `${server.address}, ${dead}`]) {
      await using client = new HodeiClient({ address, retry });
      const { id } = await client.submit({ command: ["x"] });
      expect((await client.get(id)).id).toBe(id);
    }
  });

  test("goes on with a log and a watch behind what it has when a replica breaks off", async () => {
    await using server = await startFakeJobServer({ play: () => ({ logs }) });
    const address = `${dead},${server.address}`;
    await using client = new HodeiClient({ address, retry: { maxRetries: 2, outageMs: 5_000 } });
    const { id } = await client.submit({ command: ["x"] });
    server.breaks.messagesBeforeBreak = 1;
    const texts: string[] = [];
    for await (const { data } of client.logs(id, { follow: true })) {
      texts.push(Buffer.from(data).toString());
    }
    expect(texts).toEqual(["line 1\n", "line 2\n", "line 3\n"]);
    expect(server.follows.length).toBeGreaterThan(1);
    const sequences: number[] = [];
    for await (const { sequence } of client.watch(id)) sequences.push(sequence);
    expect(sequences).toEqual(sequences.toSorted((one, other) => one - other));
    expect(new Set(sequences).size).toBe(sequences.length);
  });

  test("names all of them when none can be reached", async () => {
    const address = `${dead},127.0.0.1:2`;
    await using client = new HodeiClient({ address, retry });
    await expect(client.get("j1")).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining(`cannot reach ${address}: `) as string,
    });
  });

  test("refuses a list with something in it that is no address", () => {
    expect(() => new HodeiClient({ address: "a:1,b" })).toThrow(/^address: "b" is not HOST:PORT/);
  });
});
