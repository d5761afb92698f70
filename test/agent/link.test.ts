import type { ClientDuplexStream } from "@grpc/grpc-js";
import { EventEmitter } from "node:events";
import { expect, it, vi } from "vitest";
import { Backoff } from "#agent/backoff.ts";
import { Link } from "#agent/link.ts";

/** A stream to a server that takes it and says nothing; cancelled, it ends as gRPC's do. */
class SilentStream extends EventEmitter {
  isCancelled = false;
  write(): void {}
  end(): void {}
  cancel(): void {
    this.isCancelled = true;
    this.emit("status");
  }
}

function openLink(answerMs: number | undefined) {
  const streams: SilentStream[] = [];
  const link = new Link<string, string>({
    open: () => {
      const stream = new SilentStream();
      streams.push(stream);
      return stream as unknown as ClientDuplexStream<string, string>;
    },
    backoff: new Backoff(1),
    answerMs,
    onOpen: () => undefined,
    onMessage: () => undefined,
    onLost: () => undefined,
    onRefused: () => undefined,
  });
  link.open();
  return { link, streams };
}

it("a server that takes a stream and says nothing is given up", async () => {
  const { link, streams } = openLink(1);
  await vi.waitFor(() => expect(streams.length).toBeGreaterThan(1));
  expect(streams[0]?.isCancelled).toBe(true);
  await link.close(0);
});

it("a stream that was replaced opens no other one when its end is told", async () => {
  const { link, streams } = openLink(undefined);
  link.replace();
  expect(streams.map(({ isCancelled }) => isCancelled)).toEqual([true, false]);
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  expect(streams).toHaveLength(2);
  await link.close(0);
});
