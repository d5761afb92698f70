import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import { folderForTest, start, stored } from "./ground.ts";

const pem = (name: string): string =>
  readFileSync(join(import.meta.dirname, "../rpc/tls", name), "utf8");

test("an engine behind TLS is spoken to with the credentials that were given", async () => {
  const seen: boolean[] = [];
  const engine = createServer(
    {
      cert: pem("server.pem"),
      key: pem("server.key"),
      ca: pem("ca.pem"),
      requestCert: true,
      rejectUnauthorized: true,
    },
    (request, response) => {
      seen.push((request.socket as TLSSocket).authorized);
      response.setHeader("content-type", "application/json");
      response.end('{"NCPU": 4, "MemTotal": 8000000000, "MemoryLimit": true, "CpuCfsQuota": true}');
    },
  );
  await new Promise<void>((resolve) => engine.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    engine.closeAllConnections();
    engine.close();
  });
  const { port } = engine.address() as AddressInfo;
  const folder = folderForTest();
  const { client, stop } = await start(folder);
  const credentials = {
    dockerCa: pem("ca.pem"),
    dockerCert: pem("client.pem"),
    dockerKey: pem("client.key"),
  };
  const wish = {
    name: "rack",
    type: "docker",
    config: { host: `tcp://127.0.0.1:${port}` },
  } as const;
  const half = client.providers.register({
    ...wish,
    credentials: { ...credentials, dockerKey: "" },
  });
  await expect(half).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  const made = await client.providers.register({ ...wish, credentials });
  expect(made).toMatchObject({ health: "healthy", hasCredentials: true, maxWorkers: 10 });
  expect(seen.length).toBeGreaterThan(0);
  expect(seen).not.toContain(false);
  await stop();
  const [, secret = ""] = pem("client.key").split("\n");
  expect(secret.length).toBeGreaterThan(20);
  expect(stored(folder).includes(secret)).toBe(false);
});
