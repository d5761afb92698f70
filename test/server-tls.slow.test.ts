import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HodeiClient } from "#client/client.ts";
import { parseConfig } from "#config.ts";
import { startServer } from "#server.ts";
import { createLogger } from "#telemetry.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hodei-server-tls-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const caPath = (): string => join(folder, "tls", "ca.crt");

async function start(env: Readonly<Record<string, string>> = {}) {
  const lines: Record<string, unknown>[] = [];
  const { config } = parseConfig({
    HODEI_LISTEN_ADDRESS: "127.0.0.1:0",
    HODEI_HTTP_ADDRESS: "",
    HODEI_DATA_DIRECTORY: folder,
    HODEI_DRAIN_TIMEOUT_MS: "100",
    HODEI_TLS_AUTO: "1",
    ...env,
  });
  const write = (line: string): void =>
    void lines.push(JSON.parse(line) as Record<string, unknown>);
  return { server: await startServer(config, createLogger("info", { write })), lines };
}

async function countJobs(address: string, ca?: string): Promise<number> {
  await using client = new HodeiClient({
    address,
    ...(ca === undefined ? {} : { ca }),
    retry: { maxRetries: 0, outageMs: 0 },
  });
  let count = 0;
  for await (const _job of client.list()) count++;
  return count;
}

test("a server that makes its own certificate says whom to trust, and keeps to it when restarted", async () => {
  const first = await start({ HODEI_PROCESS_ENABLED: "0" });
  expect(first.lines.at(-1)).toMatchObject({ msg: "server ready", caFile: caPath() });
  const ca = readFileSync(caPath(), "utf8");
  expect(await countJobs(first.server.address, ca)).toBe(0);
  await expect(countJobs(first.server.address)).rejects.toMatchObject({ code: "UNAVAILABLE" });
  await first.server[Symbol.asyncDispose]();
  const second = await start({ HODEI_PROCESS_ENABLED: "0" });
  expect(await countJobs(second.server.address, ca)).toBe(0);
  await second.server[Symbol.asyncDispose]();
});

test("its workers find it, also under the name that they are told", async () => {
  const { server } = await start({ HODEI_TLS_AUTO_NAMES: "a.example.org, 192.0.2.1" });
  await using client = new HodeiClient({ address: server.address, ca: readFileSync(caPath()) });
  const job = await client.submit({ command: ["true"] });
  expect(await client.wait(job.id)).toMatchObject({ state: "succeeded" });
  await server[Symbol.asyncDispose]();
});

test("a wildcard address is served, since it is no longer plain text", async () => {
  const { server } = await start({
    HODEI_LISTEN_ADDRESS: "0.0.0.0:0",
    HODEI_PROCESS_ENABLED: "0",
    HODEI_ADMIN_TOKEN: "a-token-of-this-test",
  });
  const port = server.address.split(":").at(-1);
  const address = `localhost:${port}`;
  // Anonymous access still depends on the bound address.
  await expect(countJobs(address, readFileSync(caPath(), "utf8"))).rejects.toMatchObject({
    code: "UNAUTHENTICATED",
  });
  await server[Symbol.asyncDispose]();
});

test.for([["x y"], ['["a", 1]'], ["[", ""]] as const)(
  "HODEI_TLS_AUTO_NAMES=%j is refused by its name",
  ([names]) => {
    expect(() => parseConfig({ HODEI_TLS_AUTO_NAMES: names })).toThrow(/^HODEI_TLS_AUTO_NAMES: /);
  },
);
