import fc from "fast-check";
import { chunkSpan, gapChunk } from "#log/batch.ts";
import { logStreams, type LogChunk } from "#log/record.ts";

/** A chunk of standard output with these records. */
export function stdout(firstSequence: number, records: readonly string[]): LogChunk {
  const data = Buffer.from(records.join(""));
  const lengths = records.map((record) => Buffer.byteLength(record));
  const timeMicros = 1_760_000_000_000_000;
  return {
    stream: "stdout",
    firstSequence,
    timeMicros,
    timeOffsets: [],
    lengths,
    data,
    gap: undefined,
  };
}

/** Chunks of a valid batch. */
export function chunksOf(): fc.Arbitrary<LogChunk[]> {
  const records = fc.record({
    stream: fc.constantFrom(...logStreams),
    records: fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 8 }),
    offsets: fc.array(fc.nat(2 ** 32 - 1), { minLength: 8, maxLength: 8 }),
    hasOffsets: fc.boolean(),
    micros: fc.nat(Number.MAX_SAFE_INTEGER),
    gap: fc.option(
      fc.record({
        records: fc.nat(10),
        bytes: fc.nat(),
        reason: fc.constantFrom("quota", "lost", "expired", "corrupt"),
      }),
      { nil: undefined, freq: 4 },
    ),
  });
  return fc.array(records, { minLength: 1, maxLength: 6 }).map((parts) => {
    const next = { stdout: 1, stderr: 1, system: 1 };
    return parts.map(({ stream, gap, ...part }) => {
      const firstSequence = next[stream];
      const lengths = part.records.map(({ length }) => length);
      const chunk: LogChunk =
        gap !== undefined
          ? gapChunk(stream, firstSequence, gap)
          : {
              stream,
              firstSequence,
              timeMicros: part.micros,
              timeOffsets: part.hasOffsets ? part.offsets.slice(0, lengths.length) : [],
              lengths,
              data: Buffer.concat(part.records),
              gap,
            };
      next[stream] += chunkSpan(chunk);
      return chunk;
    });
  });
}
