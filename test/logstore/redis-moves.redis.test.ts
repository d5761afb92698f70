import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readAll, Writer } from "../conformance/log-model.ts";
import { later } from "./folder.ts";
import { redisPlaces, Shared, type RedisPlace } from "./redis-ground.ts";

describe.for(redisPlaces)("logs in %s", ([, start]) => {
  let server: RedisPlace;
  beforeAll(async () => {
    server = await start();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test("a log that comes back to a server takes up where another one left it, many batches at a time", async () => {
    const shared = new Shared(server);
    const stores = [await shared.open(), await shared.open()] as const;
    const writer = new Writer();
    for (let move = 0; move < 10; move++) {
      const batches = Array.from({ length: 5 }, (_, at) => writer.lines(`${move} ${at}\n`));
      const store = stores[move % 2 === 0 ? 0 : 1];
      await Promise.all(batches.map((batch) => store.append(writer.attempt, batch)));
    }
    await stores[0].end(writer.attempt, { expiresAt: later });
    expect(await readAll(stores[1], writer.attempt)).toEqual(writer.records);
  });

  test("what is sent again through a server that did not see it come in is taken once, also with more behind it", async () => {
    const shared = new Shared(server);
    const [one, other] = [await shared.open(), await shared.open()];
    const writer = new Writer();
    const batches = Array.from({ length: 12 }, (_, at) => writer.lines(`${at}\n`));
    const send = async (store: typeof one, from: number, to: number) => {
      await Promise.all(
        batches.slice(from, to).map((batch) => store.append(writer.attempt, batch)),
      );
    };
    await send(one, 0, 2);
    await send(other, 2, 8);
    // The acknowledgements of the last six were lost.
    await send(one, 2, 12);
    await send(other, 2, 12);
    await one.end(writer.attempt, { expiresAt: later });
    expect(await readAll(other, writer.attempt)).toEqual(writer.records);
  });

  test("a batch that is truly missing is still refused", async () => {
    const shared = new Shared(server);
    const [one, other] = [await shared.open(), await shared.open()];
    const writer = new Writer();
    await one.append(writer.attempt, writer.lines("first\n"));
    await other.append(writer.attempt, writer.lines("second\n"));
    writer.lines("never sent\n");
    const refused = one.append(writer.attempt, writer.lines("fourth\n"));
    await expect(refused).rejects.toMatchObject({ code: "failed_precondition" });
  });
});
