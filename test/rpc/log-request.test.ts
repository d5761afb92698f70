import { expect, test } from "vitest";
import { LogsRequest } from "#rpc/gen/hodei/v1/agent_service.ts";
import { decodeLogsRequest, releaseBatch } from "#rpc/log-request.ts";

function requestOf(batchBytes: number): LogsRequest {
  const batch = Buffer.alloc(batchBytes, "x");
  return { attemptId: "a0123", jobId: "j0123", batchNumber: 2 ** 40, batch };
}

/** A message as grpc-js hands it on: behind five bytes, in memory of its own. */
function received(request: LogsRequest): Buffer {
  const bytes = LogsRequest.encode(request).finish();
  const message = Buffer.from(new ArrayBuffer(bytes.length + 5));
  message.set(bytes, 5);
  return message.subarray(5);
}

test.for([0, 1, 200, 65_000])("gives what the generated codec gives: %i bytes", (size) => {
  const request = requestOf(size);
  expect(decodeLogsRequest(received(request))).toEqual(request);
});

test("skips fields that it does not know, and refuses what is no message", () => {
  const bytes = Buffer.concat([Buffer.from([0x28, 7]), received(requestOf(3))]);
  expect(decodeLogsRequest(bytes)).toEqual(requestOf(3));
  expect(() => decodeLogsRequest(bytes.subarray(0, -1))).toThrow("not a LogBatch");
  expect(() => decodeLogsRequest(Buffer.from([0x22, 0xff]))).toThrow("not a LogBatch");
});

test("a batch is a view of its message, and gives its memory back once", () => {
  const message = received(requestOf(65_000));
  const { batch } = decodeLogsRequest(message);
  expect(batch.buffer).toBe(message.buffer);
  releaseBatch(batch);
  expect(message.length).toBe(0);
  releaseBatch(batch);
});

test("a batch that shares its memory keeps it", () => {
  const two = Buffer.concat([received(requestOf(65_000)), Buffer.from("another message")]);
  const { batch } = decodeLogsRequest(two.subarray(0, -15));
  releaseBatch(batch);
  expect(two.subarray(-15).toString()).toBe("another message");
  expect(batch).toHaveLength(65_000);
});
