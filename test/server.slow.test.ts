import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseConfig } from "#config.ts";
import { startServer } from "#server.ts";
import { createLogger } from "#telemetry.ts";

const tls = join(import.meta.dirname, "rpc/tls");
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hodei-server-"));
  writeFileSync(join(folder, "garbage.pem"), "garbage");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function start(env: Readonly<Record<string, string>>) {
  const { config } = parseConfig({
    HODEI_LISTEN_ADDRESS: "127.0.0.1:0",
    HODEI_HTTP_ADDRESS: "",
    HODEI_PROCESS_ENABLED: "0",
    HODEI_DATA_DIRECTORY: join(folder, "data"),
    ...env,
  });
  return startServer(config, createLogger("silent"));
}

describe("a server that cannot serve does not start, and names the variable", () => {
  const good = {
    HODEI_TLS_CERT_FILE: join(tls, "server.pem"),
    HODEI_TLS_KEY_FILE: join(tls, "server.key"),
  };
  test.for([
    ["HODEI_TLS_CERT_FILE", "holds no certificate", "garbage.pem"],
    ["HODEI_TLS_CLIENT_CA_FILE", "holds no certificate", "garbage.pem"],
    ["HODEI_TLS_CA_FILE", "holds no certificate", "garbage.pem"],
    ["HODEI_TLS_KEY_FILE", "is not the key of", "garbage.pem"],
    ["HODEI_TLS_KEY_FILE", "is not the key of", join(tls, "renewed.key")],
    ["HODEI_DATA_DIRECTORY", "cannot make the folder", "garbage.pem"],
  ] as const)("%s: %s %s", async ([variable, problem, file]) => {
    const path = file.startsWith("/") ? file : join(folder, file);
    await expect(start({ ...good, [variable]: path })).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringMatching(new RegExp(`^${variable}: .*${problem}`)),
    });
  });

  test("and one with all of it does", async () => {
    await using server = await start(good);
    expect(server.address).toMatch(/^127\.0\.0\.1:\d+$/);
  });

  test.for(["logs", "processes", "tls"])("HODEI_DATA_DIRECTORY: %s is a file", async (name) => {
    mkdirSync(join(folder, "data"));
    writeFileSync(join(folder, "data", name), "");
    await expect(start({ ...good, HODEI_PROCESS_ENABLED: "1" })).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringMatching(new RegExp(`^HODEI_DATA_DIRECTORY: .*${name} is in the way`)),
    });
  });
});
