import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { HodeiClient } from "#client/client.ts";
import { Proxy } from "../fake/proxy.ts";
import { startFleet } from "./fleet.ts";
import { note, outputOf, readLedger, untilNoted, untilState } from "./ledger.ts";
import { freePort } from "./server-process.ts";

const lines = 120;

test("F15 connections that are reset again and again cost nothing: one worker, one session, one start, the whole log", async () => {
  const fronts: { readonly proxy: Proxy; readonly port: number }[] = [];
  const fleet = await startFleet(2, async ({ ports }) => {
    for (const target of ports) {
      const proxy = new Proxy(target);
      const port = await freePort();
      await proxy.listen(port);
      onTestFinished(() => proxy[Symbol.asyncDispose]());
      fronts.push({ proxy, port });
    }
    const address = fronts.map(({ port }) => `127.0.0.1:${port}`).join(",");
    return { HODEI_SERVER_ADDRESS: address, HODEI_AGENT_RECONNECT_MAX_MS: "200" };
  });
  const ledger = join(fleet.directory, "ledger");
  const address = fronts.map(({ port }) => `127.0.0.1:${port}`).join(",");
  await using client = new HodeiClient({ address });
  const script = `
${note("start", ledger)}
for i in $(seq 1 ${lines}); do echo "line $i"; ${note("line", ledger)}; sleep 0.05; done`;
  const { id } = await client.submit({ script });
  const following = outputOf(client, id, { follow: true });
  await untilState(client, id, "running");
  let resets = 0;
  for (let line = 4; line <= lines; line += 4) {
    await untilNoted(ledger, "line", line);
    for (const { proxy } of fronts) {
      resets += proxy.size;
      proxy.reset();
    }
  }
  expect(await client.wait(id)).toMatchObject({ state: "succeeded", exitCode: 0 });
  const text = Array.from({ length: lines }, (_, at) => `line ${at + 1}\n`).join("");
  expect(await outputOf(client, id)).toEqual({ text, gaps: 0 });
  expect(await following).toEqual({ text, gaps: 0 });
  expect(resets).toBeGreaterThan(lines / 4);
  const job = await client.get(id);
  expect(job.attempts).toHaveLength(1);
  expect(readLedger(ledger).filter(({ word }) => word === "start")).toHaveLength(1);
  for (const server of fleet.servers) {
    expect(await server.readMetrics()).not.toMatch(/^hodei_otp_refused_total [1-9]/m);
    expect(await server.readMetrics()).not.toMatch(/^hodei_workers_errors_total.* [1-9]/m);
  }
});
