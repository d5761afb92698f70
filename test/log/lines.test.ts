import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeBatch, scanBatch } from "#log/batch.ts";
import { BatchBuilder, LineSplitter, type LineRun } from "#log/lines.ts";
import { logLimits, logStreams, type LogStream } from "#log/record.ts";

/** Records as a reader of the whole output would cut them. */
function expected(bytes: Buffer): string[] {
  const records: Buffer[] = [];
  for (let from = 0; from < bytes.length;) {
    const newline = bytes.indexOf(10, from);
    const end = newline === -1 ? bytes.length : newline + 1;
    const to = Math.min(end, from + logLimits.recordBytes);
    records.push(bytes.subarray(from, to));
    from = to;
  }
  return records.map((record) => record.toString("hex"));
}

function recordsOf(run: LineRun | undefined): string[] {
  let at = 0;
  return (run?.lengths ?? []).map((length) =>
    Buffer.from(run?.data.subarray(at, (at += length)) ?? []).toString("hex"),
  );
}

describe("a line splitter", () => {
  test("cuts the same records however the pipe cuts the bytes", () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 50 }),
      fc.constantFrom("\n", "line\n", "\n\n", "half").map((text) => Buffer.from(text)),
      fc.constantFrom(65_535, 65_536, 65_537, 200_000).map((size) => Buffer.alloc(size, "x")),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const splitter = new LineSplitter();
        const found = pieces.flatMap((bytes) => recordsOf(splitter.push(Buffer.from(bytes))));
        found.push(...recordsOf(splitter.flush()));
        expect(found).toEqual(expected(Buffer.concat(pieces)));
        expect(splitter.flush()).toBeUndefined();
      }),
    );
  });

  test("holds less than one record", () => {
    const splitter = new LineSplitter();
    for (let round = 0; round < 1000; round++) {
      splitter.push(Buffer.alloc(1000, "x"));
      expect(splitter.waitingBytes).toBeLessThan(logLimits.recordBytes);
    }
  });
});

describe("a batch builder", () => {
  test("gives back every byte of each stream, numbered without holes, in batches within the limits", () => {
    const write = fc.record({
      stream: fc.constantFrom(...logStreams),
      text: fc.oneof(
        fc.string({ maxLength: 30 }),
        fc.constantFrom("line\n", "\n".repeat(20_000), "x".repeat(70_000), "y\n".repeat(50_000)),
      ),
      isLast: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(write, { maxLength: 20 }), (writes) => {
        const builder = new BatchBuilder();
        const given = { stdout: "", stderr: "", system: "" };
        const batches = writes.flatMap(({ stream, text, isLast }, index) => {
          given[stream] += text;
          builder.add(stream, Buffer.from(text), 1_000 + index);
          return isLast ? [...builder.takeFull(), ...builder.flush(2_000)] : builder.takeFull();
        });
        batches.push(...builder.flush(3_000));
        expect(builder.waitingBytes).toBe(0);
        const read: Record<LogStream, Uint8Array[]> = { stdout: [], stderr: [], system: [] };
        const last = { stdout: 0, stderr: 0, system: 0 };
        for (const batch of batches) {
          expect(scanBatch(batch.bytes)).toMatchObject({
            records: batch.records,
            dataBytes: batch.dataBytes,
          });
          for (const chunk of decodeBatch(batch.bytes)) {
            expect(chunk.firstSequence).toBe(last[chunk.stream] + 1);
            last[chunk.stream] += chunk.lengths.length;
            read[chunk.stream].push(chunk.data);
          }
          expect(batch.last).toEqual(last);
        }
        for (const stream of logStreams) {
          expect(Buffer.concat(read[stream]).equals(Buffer.from(given[stream]))).toBe(true);
        }
      }),
      { numRuns: 50 },
    );
  });

  test("keeps the time of each record", () => {
    const builder = new BatchBuilder();
    builder.add("stdout", Buffer.from("a\nb\n"), 1_000);
    builder.add("stdout", Buffer.from("c\n"), 1_700);
    const [batch] = builder.flush(2_000);
    expect(batch && decodeBatch(batch.bytes)).toMatchObject([
      { timeMicros: 1_000, timeOffsets: [0, 0, 700], lengths: [2, 2, 2] },
    ]);
  });

  test("keeps an unfinished line back when a full batch is taken", () => {
    const builder = new BatchBuilder();
    builder.add("stdout", Buffer.from(`${"x".repeat(65_000)}\n${"y".repeat(1_000)}\nhalf`), 1);
    expect(builder.takeFull()).toMatchObject([{ records: 2 }]);
    expect(builder.waitingBytes).toBe(4);
    expect(builder.flush(2)).toMatchObject([{ records: 1, dataBytes: 4 }]);
  });

  test("goes on from the sequences that it is given", () => {
    const builder = new BatchBuilder({ last: { stdout: 7, stderr: 0, system: 2 } });
    builder.add("stdout", Buffer.from("x\n"), 1);
    expect(builder.flush(1)).toMatchObject([{ last: { stdout: 8, stderr: 0, system: 2 } }]);
  });
});
