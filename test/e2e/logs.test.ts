import { credentials, Metadata } from "@grpc/grpc-js";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { channelOptions } from "#rpc/channel.ts";
import { LogStreamServiceClient } from "#rpc/gen/hodei/v1/log_service.ts";
import { note, outputOf, recordsOf } from "./ledger.ts";
import { clientForTest, type ServerProcess, startForTest } from "./server-process.ts";

const megabyte = 1024 * 1024;
const lineBytes = 1024;

function residentBytes(server: ServerProcess): number {
  const text = readFileSync(`/proc/${server.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1]) * 1024;
}

test("G21 a follower that does not read costs neither memory nor anybody's time", async () => {
  const server = await startForTest();
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const gate = join(server.directory, "gate");
  const bytes = 200 * megabyte;
  const script = `
echo begin
while [ ! -e ${gate} ]; do sleep 0.05; done
tr '\\0' x < /dev/zero | fold -w ${lineBytes - 1} | head -c ${bytes}
${note("stop", ledger)}`;
  const { id } = await client.submit({ script });
  const before = await residentAfterFirstLine();
  const stuck = stuckFollowers(server, id, 3);
  await vi.waitUntil(() => stuck.every((one) => one.hasBegun), { timeout: 30_000 });
  const reading = countBytes();
  await client.submit({ command: ["touch", gate] });
  let most = 0;
  const watching = setInterval(() => (most = Math.max(most, residentBytes(server))), 20);
  onTestFinished(() => clearInterval(watching));
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "succeeded" });
  expect(await reading).toBe("begin\n".length + bytes);
  expect(most).toBeGreaterThan(0);
  expect(most - before).toBeLessThan(150 * megabyte);
  await server.isEmpty();

  async function residentAfterFirstLine(): Promise<number> {
    for await (const _ of client.logs(id, { follow: true })) break;
    return residentBytes(server);
  }

  async function countBytes(): Promise<number> {
    let count = 0;
    for await (const { data, gap } of client.logs(id, { follow: true, stream: "stdout" })) {
      if (gap !== undefined) throw new Error(`a gap of ${gap.bytes} bytes`);
      count += data.length;
    }
    return count;
  }
});

test("G21 a noisy job keeps its head and its tail with an explicit gap between, and succeeds", async () => {
  const quota = 256 * 1024;
  const server = await startForTest({ HODEI_LOG_QUOTA_BYTES: String(quota) });
  const client = clientForTest(server);
  const lines = 100_000;
  const quiet = client.submit({ command: ["echo", "quiet"] });
  // Lines of 16 bytes fit into blocks and reads as wholes: a part of one that has to wait for the rest would be a record of its own.
  const textOf = (line: number): string => `${String(line).padStart(15, "0")}\n`;
  const { id } = await client.submit({ command: ["seq", "-f", "%015.0f", "1", String(lines)] });
  expect(await client.wait(id)).toMatchObject({ state: "succeeded", exitCode: 0 });
  const records = await recordsOf(client, id, { follow: true });
  const gaps = records.filter(({ gap }) => gap !== undefined);
  expect(new Set(gaps.map(({ gap }) => gap?.reason))).toEqual(new Set(["quota"]));
  expect(Buffer.from(records[0]?.data ?? []).toString()).toBe(textOf(1));
  expect(Buffer.from(records.at(-1)?.data ?? []).toString()).toBe(textOf(lines));
  let want = 1;
  for (const { sequence, data, gap } of records) {
    expect(sequence).toBe(want);
    if (gap === undefined) expect(Buffer.from(data).toString()).toBe(textOf(want));
    want += gap?.records ?? 1;
  }
  expect(want).toBe(lines + 1);
  const kept = records.reduce((sum, { data }) => sum + data.length, 0);
  expect(kept).toBeLessThanOrEqual(quota);
  expect(kept).toBeGreaterThan(quota / 4);
  const other = (await quiet).id;
  await client.wait(other);
  expect(await outputOf(client, other)).toEqual({ text: "quiet\n", gaps: 0 });
});

/** Followers on connections of their own that take the first message and then none. */
function stuckFollowers(server: ServerProcess, jobId: string, count: number) {
  return Array.from({ length: count }, () => {
    const logs = new LogStreamServiceClient(
      server.address,
      credentials.createInsecure(),
      channelOptions(),
    );
    const query = { jobId, cursor: undefined, tailLines: 0, stream: 0, attempt: 0 } as const;
    const call = logs.streamLogs({ ...query, follow: true }, new Metadata());
    const follower = { hasBegun: false };
    call.once("data", () => {
      follower.hasBegun = true;
      call.pause();
    });
    call.on("error", () => undefined);
    onTestFinished(() => {
      call.cancel();
      logs.close();
    });
    return follower;
  });
}
