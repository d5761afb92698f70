import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import type { JobEvent } from "#client/client.ts";
import { note, recordsOf, untilNoted } from "./ledger.ts";
import { clientForTest, startForTest } from "./server-process.ts";

const lines = 300;

test("G19 followers and watchers that began before two restarts miss nothing and see nothing twice", async () => {
  const server = await startForTest();
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const gate = join(server.directory, "gate");
  const script = `
${note("start", ledger)}
i=1
while [ $i -le ${lines} ]; do
  echo "out $i"; echo "err $i" >&2
  [ $((i % 100)) -eq 0 ] && ${note("hundred", ledger)}
  i=$((i+1)); sleep 0.01
done
while [ ! -e ${gate} ]; do sleep 0.05; done
echo last`;
  const { id } = await client.submit({ script });
  const events: JobEvent[] = [];
  const watching = (async () => {
    for await (const event of client.watch(id)) events.push(event);
  })();
  const following = recordsOf(client, id, { follow: true });
  const onlyErrors = recordsOf(client, id, { follow: true, stream: "stderr" });
  await untilNoted(ledger, "hundred", 1);
  await server.end("SIGKILL");
  await server.start();
  await untilNoted(ledger, "hundred", 3);
  const isHome = async (): Promise<boolean> => (await recordsOf(client, id)).length >= 2 * lines;
  await vi.waitUntil(isHome, { timeout: 30_000, interval: 100 });
  await server.end("SIGTERM");
  writeFileSync(gate, "");
  await server.start();

  const records = await following;
  const textOf = (stream: string): string[] =>
    records
      .filter((record) => record.stream === stream)
      .map(({ data }) => Buffer.from(data).toString());
  const numbered = (word: string): string[] =>
    Array.from({ length: lines }, (_, line) => `${word} ${line + 1}\n`);
  expect(textOf("stdout")).toEqual([...numbered("out"), "last\n"]);
  expect(textOf("stderr")).toEqual(numbered("err"));
  expect(records.filter(({ gap }) => gap !== undefined)).toEqual([]);
  expect((await onlyErrors).map(({ data }) => Buffer.from(data).toString())).toEqual(
    numbered("err"),
  );

  await watching;
  expect(events.map(({ sequence }) => sequence)).toEqual(events.map((_, at) => at + 1));
  expect(events.at(-1)?.state).toBe("succeeded");
  const again: JobEvent[] = [];
  for await (const event of client.watch(id)) again.push(event);
  expect(again).toEqual(events);
  const cursor = records[400]?.cursor;
  expect(await recordsOf(client, id, { cursor })).toEqual(records.slice(401));
  await server.isEmpty();
});
