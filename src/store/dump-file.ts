import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { createInterface } from "node:readline";
import { HodeiError } from "#error.ts";
import {
  decodeRecord,
  DumpReader,
  encodeRecord,
  wholeDump,
  type DumpCounts,
  type DumpRecord,
  type StoreDump,
} from "./dump.ts";

/** So much is gathered before it is written. */
const pieceBytes = 1024 * 1024;

/** A dump in a file, a record in JSON on each line; one that is not there is empty. */
export function openDumpFile(path: string): StoreDump {
  return {
    dump: () => readRecords(path),
    load: (records) => writeRecords(path, records),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

async function* readRecords(path: string): AsyncGenerator<DumpRecord> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) yield* wholeDump([]);
  else {
    const lines = createInterface({ input: createReadStream(path), crlfDelay: Infinity });
    for await (const line of lines) yield decodeRecord(line);
  }
}

async function writeRecords(path: string, records: AsyncIterable<DumpRecord>): Promise<DumpCounts> {
  const reader = new DumpReader();
  await using file = await open(path, "wx", 0o600).catch((cause: unknown) => {
    throw new HodeiError("failed_precondition", `cannot make a new file ${path}`, { cause });
  });
  let waiting = "";
  for await (const row of wholeDump(reader.read(records))) {
    waiting += `${encodeRecord(row)}\n`;
    if (waiting.length < pieceBytes) continue;
    await file.writeFile(waiting);
    waiting = "";
  }
  await file.writeFile(waiting);
  await file.sync();
  return reader.counts;
}
