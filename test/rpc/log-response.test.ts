import { expect, test } from "vitest";
import { LogBatch, StreamLogsResponse } from "#rpc/gen/hodei/v1/log_service.ts";
import { encodeLogResponse } from "#rpc/log-response.ts";

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
