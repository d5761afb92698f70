import { expect, test } from "vitest";
import { LogBatch, StreamLogsResponse } from "#rpc/gen/hodei/v1/log_service.ts";
import { createLogResponseEncoder, encodeLogResponse } from "#rpc/log-response.ts";

const batch = LogBatch.encode({
  chunks: [
    {
      stream: 1,
      firstSequence: 4,
      timeMicros: 9,
      timeOffsets: [],
      lengths: [3],
      data: Buffer.from([0xff, 0, 10]),
      gap: undefined,
    },
  ],
}).finish();

test.for([0, 1, 127, 128, 300, 2 ** 40])(
  "stored bytes are framed as the codec would: %i",
  (last) => {
    const part = {
      attempt: 1 + (last % 1_000),
      attemptId: "a0123456789abcdefghjkmnpqrs",
      batch,
      last: { stdout: last, stderr: 0, system: 2 },
    };
    expect(StreamLogsResponse.decode(encodeLogResponse(part))).toEqual({
      attempt: part.attempt,
      attemptId: part.attemptId,
      batch: LogBatch.decode(batch),
      cursor: { attempt: part.attempt, ...part.last },
      end: false,
      expiresAt: undefined,
    });
  },
);

test("followers at the same place get the same bytes, and others their own", () => {
  const encode = createLogResponseEncoder();
  const last = { stdout: 1, stderr: 0, system: 0 };
  const attemptId = "a0123456789abcdefghjkmnpqrs";
  const part = { attempt: 1, attemptId, batch: Buffer.alloc(10_000), last };
  const bytes = encode(part);
  expect(bytes).toEqual(encodeLogResponse(part));
  expect(encode({ ...part, last: { ...last } })).toBe(bytes);
  const others = [
    { ...part, last: { ...last, stderr: 1 } },
    { ...part, attempt: 2 },
    { ...part, attemptId: attemptId.replace("0", "1") },
    { ...part, batch: Buffer.from(part.batch) },
  ];
  for (const other of others) {
    expect(encode(other)).not.toBe(bytes);
    expect(encode(other)).toEqual(encodeLogResponse(other));
  }
});
