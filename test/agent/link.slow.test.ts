import { credentials, Metadata } from "@grpc/grpc-js";
import { expect, it, vi } from "vitest";
import { Backoff } from "#agent/backoff.ts";
import { Link } from "#agent/link.ts";
import { AgentServiceClient } from "#rpc/gen/hodei/v1/agent_service.ts";
import { ScriptedServer } from "../fake/server.ts";

/** A link to a server that takes streams and says nothing. */
async function openLink(answerMs: number | undefined) {
  const server = await ScriptedServer.open({ greets: false });
  server.sessions.push("s");
  const client = new AgentServiceClient(server.address, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set("hodei-session", "s");
  const seen = { opened: 0, lost: 0 };
  const link = new Link({
    open: () => client.control(metadata),
    backoff: new Backoff(1),
    answerMs,
    onOpen: () => void seen.opened++,
    onMessage: () => undefined,
    onLost: () => void seen.lost++,
    onRefused: () => undefined,
  });
  link.open();
  return {
    link,
    seen,
    server,
    async [Symbol.asyncDispose]() {
      await link.close(0);
      client.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

it("a server that takes a stream and says nothing is given up for another stream", async () => {
  await using run = await openLink(20);
  await vi.waitFor(() => expect(run.seen.opened).toBeGreaterThan(2), 9_000);
  expect(run.seen.lost).toBeGreaterThan(1);
});

it("a stream that was replaced is not missed when it ends", async () => {
  await using run = await openLink(undefined);
  await vi.waitFor(() => expect(run.server.streams).toHaveLength(1), 9_000);
  run.link.replace();
  await vi.waitFor(() => expect(run.server.streams).toHaveLength(2), 9_000);
  await vi.waitFor(() => expect(run.server.streams[0]?.cancelled).toBe(true), 9_000);
  expect(run.seen).toEqual({ opened: 2, lost: 0 });
});
