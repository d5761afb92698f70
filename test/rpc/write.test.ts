import { expect, test } from "vitest";
import { createWriter, writeLimits } from "#rpc/write.ts";

function target() {
  const waiting: (() => void)[] = [];
  const call = { isReset: false, stop: new AbortController() };
  const raw = {
    write: (_message: unknown, done: () => void) => {
      waiting.push(done);
      return true;
    },
  };
  const ending = { signal: call.stop.signal, reset: () => void (call.isReset = true) };
  return { raw, ending, waiting, call };
}

test("waits for a slow reader, and goes on when it reads", async () => {
  const { raw, ending, waiting } = target();
  const write = createWriter(raw, ending);
  for (let at = 1; at < writeLimits.messages; at++) await write(at);
  let isThrough = false;
  const last = write("last").then(() => (isThrough = true));
  await Promise.resolve();
  expect(isThrough).toBe(false);
  waiting[0]?.();
  await last;
});

test("a reader that takes nothing loses the call", async () => {
  const { raw, ending, call } = target();
  const write = createWriter(raw, ending, 5);
  for (let at = 1; at < writeLimits.messages; at++) await write(at);
  await expect(write("last")).rejects.toMatchObject({ code: "resource_exhausted" });
  expect(call.isReset).toBe(true);
});

test("a call that is over takes nothing more", async () => {
  const { raw, ending, call } = target();
  const write = createWriter(raw, ending);
  for (let at = 1; at < writeLimits.messages; at++) await write(at);
  const last = write("last");
  call.stop.abort();
  await expect(last).rejects.toMatchObject({ code: "cancelled" });
  await expect(write("more")).rejects.toMatchObject({ code: "cancelled" });
});
