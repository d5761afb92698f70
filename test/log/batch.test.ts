import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  chunkSpan,
  decodeBatch,
  encodeBatch,
  gapChunk,
  scanBatch,
  sliceBatch,
} from "#log/batch.ts";
import { logLimits, logStreams, noSequences, type LogChunk } from "#log/record.ts";
import { LogBatch } from "#rpc/gen/hodei/v1/log_service.ts";
import { chunksOf, stdout } from "./chunks.ts";

const number = { stdout: 1, stderr: 2, system: 3 } as const;
const reasons = ["unspecified", "quota", "lost", "expired", "corrupt"];

/** The same message through the generated codec. */
function generated(chunks: readonly LogChunk[]): Uint8Array {
  const message = {
    chunks: chunks.map((chunk) => ({
      ...chunk,
      stream: number[chunk.stream],
      timeOffsets: [...chunk.timeOffsets],
      lengths: [...chunk.lengths],
      data: Buffer.from(chunk.data),
      gap: chunk.gap && { ...chunk.gap, reason: reasons.indexOf(chunk.gap.reason) as 1 },
    })),
  };
  return LogBatch.encode(message).finish();
}

describe("the codec of a batch", () => {
  test("writes the bytes that the generated codec writes", () => {
    fc.assert(
      fc.property(chunksOf(), (chunks) => {
        expect(Buffer.from(encodeBatch(chunks))).toEqual(Buffer.from(generated(chunks)));
      }),
    );
  });

  test("reads what it wrote", () => {
    fc.assert(
      fc.property(chunksOf(), (chunks) => {
        const read = decodeBatch(encodeBatch(chunks));
        expect(read.map((chunk) => ({ ...chunk, data: Buffer.from(chunk.data) }))).toEqual(
          chunks.map((chunk) => ({ ...chunk, data: Buffer.from(chunk.data) })),
        );
      }),
    );
  });

  test("never throws anything but invalid_argument on garbage", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const step of [scanBatch, decodeBatch]) {
          try {
            step(bytes);
          } catch (error) {
            expect(error).toMatchObject({ code: "invalid_argument" });
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("refuses a batch that is cut short", () => {
    const bytes = encodeBatch([stdout(1, ["one\n", "two\n"])]);
    for (let length = 1; length < bytes.length; length++) {
      expect(() => scanBatch(bytes.subarray(0, length))).toThrow("log batch");
    }
  });

  test("skips fields that it does not know", () => {
    const bytes = encodeBatch([stdout(1, ["one\n"])]);
    const extended = Buffer.concat([Buffer.from([0x78, 0x85, 0x01, 0x7a, 0x01, 0x41]), bytes]);
    expect(scanBatch(extended).records).toBe(1);
    expect(decodeBatch(extended)).toEqual(decodeBatch(bytes));
  });

  test("reads lists that are not packed", () => {
    const inner = [8, 1, 16, 1, 40, 1, 40, 2, 50, 3, 65, 66, 67];
    const bytes = Uint8Array.from([10, inner.length, ...inner]);
    expect(decodeBatch(bytes)).toMatchObject([{ lengths: [1, 2] }]);
  });
});

describe("scanning a batch", () => {
  test("gives first and last record of each stream, counts and bytes", () => {
    const bytes = encodeBatch([
      stdout(5, ["a\n", "b\n"]),
      { ...stdout(1, ["oops\n"]), stream: "stderr" },
      gapChunk("stdout", 7, { records: 3, bytes: 30, reason: "lost" }),
      gapChunk("system", 1, { records: 0, bytes: 0, reason: "lost" }),
    ]);
    expect(scanBatch(bytes)).toEqual({
      first: { stdout: 5, stderr: 1, system: 1 },
      last: { stdout: 9, stderr: 1, system: 1 },
      bytes: { stdout: 4, stderr: 5, system: 0 },
      records: 3,
      dataBytes: 9,
    });
  });

  const one = stdout(1, ["x\n"]);
  test.for<[string, LogChunk[]]>([
    ["a hole", [one, stdout(3, ["y\n"])]],
    ["a repetition", [one, stdout(1, ["y\n"])]],
    ["the sequence 0", [stdout(0, ["x\n"])]],
    ["lengths that do not match the data", [{ ...one, lengths: [1] }]],
    ["offsets that do not match the records", [{ ...one, timeOffsets: [1, 2] }]],
    ["a chunk without records", [{ ...one, lengths: [], data: new Uint8Array(0) }]],
    ["a gap with records", [{ ...one, gap: { records: 1, bytes: 1, reason: "lost" } }]],
    ["a record that is too long", [stdout(1, ["x".repeat(logLimits.recordBytes + 1)])]],
    ["too many bytes", [stdout(1, Array(3).fill("x".repeat(logLimits.recordBytes)) as string[])]],
    ["too many records", [stdout(1, Array(logLimits.batchRecords + 1).fill("") as string[])]],
  ])("refuses %s", ([, chunks]) => {
    expect(() => scanBatch(encodeBatch(chunks))).toThrow(
      expect.objectContaining({ code: "invalid_argument" }),
    );
  });

  test("refuses a stream that it does not know", () => {
    const inner = [8, 9, 16, 1, 40, 1, 50, 1, 65];
    expect(() => scanBatch(Uint8Array.from([10, inner.length, ...inner]))).toThrow("stream");
  });
});

describe("slicing a batch", () => {
  test("gives the same bytes when there is nothing to cut", () => {
    const bytes = encodeBatch([stdout(4, ["x\n"])]);
    expect(sliceBatch(bytes, { after: { ...noSequences, stdout: 3 } })).toBe(bytes);
  });

  test("keeps the rest of a gap", () => {
    const bytes = encodeBatch([gapChunk("stdout", 2, { records: 5, bytes: 9, reason: "quota" })]);
    const rest = sliceBatch(bytes, { after: { ...noSequences, stdout: 3 } });
    expect(rest && decodeBatch(rest)).toMatchObject([
      { firstSequence: 4, gap: { records: 3, bytes: 0, reason: "quota" } },
    ]);
  });

  test("gives exactly the newer records of the streams that are wanted", () => {
    const cursor = fc.record({ stdout: fc.nat(40), stderr: fc.nat(40), system: fc.nat(40) });
    const stream = fc.constantFrom(undefined, ...logStreams);
    fc.assert(
      fc.property(chunksOf(), cursor, stream, (chunks, after, only) => {
        const slice = sliceBatch(encodeBatch(chunks), { after, stream: only });
        const wanted = flat(chunks).filter(
          (record) => (only ?? record.stream) === record.stream && record.at > after[record.stream],
        );
        expect(slice === undefined ? [] : flat(decodeBatch(slice))).toEqual(wanted);
      }),
    );
  });
});

/** One entry per sequence number, with the bytes and the time of its record. */
function flat(chunks: readonly LogChunk[]) {
  return chunks.flatMap(({ stream, firstSequence, ...chunk }) => {
    let from = 0;
    return Array.from({ length: chunkSpan(chunk) }, (_, index) => {
      const length = chunk.lengths[index] ?? 0;
      from += length;
      return {
        stream,
        at: firstSequence + index,
        bytes: Buffer.from(chunk.data.subarray(from - length, from)).toString("hex"),
        micros: chunk.timeMicros + (chunk.timeOffsets[index] ?? 0),
        gap: chunk.gap?.reason,
      };
    });
  });
}
