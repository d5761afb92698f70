import { expect, test, vi } from "vitest";
import { Upload } from "#api/agent-service-upload.ts";
import { attemptIdOf, type JobId } from "#job/id.ts";
import type { AttemptBatch } from "#scheduler/scheduler.ts";

const attemptId = attemptIdOf(Buffer.alloc(16, 1));
const jobId = "j000000000001" as JobId;

function batch(number: number): AttemptBatch {
  return { attemptId, jobId, number, bytes: new Uint8Array(number) };
}

function open() {
  const answers = new Map<number, (answer: "ok" | "fenced") => void>();
  const durable: (readonly [number: number, bytes: number])[] = [];
  const unused = (): never => {
    throw new Error("not part of this test");
  };
  const upload = new Upload({
    append: ({ number }) => new Promise((resolve) => answers.set(number, resolve)),
    retryMs: 1,
    onDurable: (number, bytes) => void durable.push([number, bytes]),
    onRefused: unused,
    onFull: unused,
    onFailure: unused,
  });
  return { upload, answers, durable };
}

test("batches are acknowledged in their order, whatever order the store answers in", async () => {
  const { upload, answers, durable } = open();
  for (const number of [1, 2, 3, 4]) upload.push(batch(number));
  answers.get(3)?.("ok");
  answers.get(2)?.("ok");
  await Promise.resolve();
  expect(durable).toEqual([]);
  answers.get(1)?.("ok");
  const first = [
    [1, 1],
    [2, 2],
    [3, 3],
  ];
  await vi.waitFor(() => expect(durable).toEqual(first));
  expect(upload.isEmpty).toBe(false);
  answers.get(4)?.("ok");
  await vi.waitFor(() => expect(durable).toEqual([...first, [4, 4]]));
  expect(upload.isEmpty).toBe(true);
});
