import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer as createProxy } from "node:http";
import { createServer } from "node:https";
import { type AddressInfo, connect as dial } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import { defaultKubernetesConfig } from "#provider/kubernetes/config.ts";
import { type Connection, openConnection } from "#provider/kubernetes/connection.ts";
import { kubeconfig, silent } from "./ground-server.ts";

const tls = join(import.meta.dirname, "../../rpc/tls");
const pem = (name: string): string => readFileSync(join(tls, name), "utf8");
const base64 = (name: string): string => Buffer.from(pem(name)).toString("base64");

/** A server that answers with the common name of the caller's certificate. */
async function connect(files: (server: string) => string): Promise<{
  readonly connection: Connection;
  readonly sockets: Set<unknown>;
  readonly rewrite: (text: string) => Promise<void>;
  readonly url: string;
}> {
  const sockets = new Set<unknown>();
  const server = createServer(
    {
      key: pem("server.key"),
      cert: pem("server.pem"),
      ca: pem("ca.pem"),
      requestCert: true,
      rejectUnauthorized: false,
    },
    (request, response) => {
      const { CN } = (request.socket as TLSSocket).getPeerCertificate().subject ?? {};
      if (CN !== undefined) response.end(JSON.stringify(CN));
      else response.writeHead(401).end("{}");
    },
  );
  server.on("secureConnection", (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const directory = await mkdtemp(join(tmpdir(), "hodei-kube-"));
  const file = join(directory, "config");
  const rewrite = (text: string): Promise<void> => writeFile(file, text);
  await rewrite(files(url));
  const config = { ...defaultKubernetesConfig, kubeconfigPath: file };
  const connection = await openConnection(config, { log: silent });
  onTestFinished(async () => {
    await connection[Symbol.asyncDispose]();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await rm(directory, { recursive: true });
  });
  return { connection, sockets, rewrite, url };
}

const trust = { "certificate-authority-data": base64("ca.pem") };
const certificate = {
  "client-certificate": join(tls, "client.pem"),
  "client-key": join(tls, "client.key"),
};
const version = { method: "GET", path: "/version", retry: false } as const;

test("a client certificate says who calls, on few connections that are kept", async () => {
  const { connection, sockets } = await connect((server) =>
    kubeconfig({ server, cluster: trust, user: certificate }),
  );
  const names = [];
  for (let count = 0; count < 20; count++) names.push(await connection.request(version));
  expect(new Set(names).size).toBe(1);
  expect(sockets.size).toBeLessThan(5);
});

test("a server behind another authority is not talked to", async () => {
  const cluster = { "certificate-authority-data": base64("stranger.pem") };
  const { connection } = await connect((server) => kubeconfig({ server, cluster }));
  await expect(connection.request(version)).rejects.toMatchObject({ name: "KubeError", status: 0 });
});

test("a certificate that was renewed is used after the old one is refused", async () => {
  const { connection, rewrite, url } = await connect((server) =>
    kubeconfig({ server, cluster: trust }),
  );
  await rewrite(kubeconfig({ server: url, cluster: trust, user: certificate }));
  await expect(connection.request(version)).resolves.toBeTypeOf("string");
});

test("a proxy that the kubeconfig names stands between", async () => {
  const asked: string[] = [];
  const proxy = createProxy();
  proxy.on("connect", (request, socket) => {
    asked.push(request.url ?? "");
    const [, port] = (request.url ?? "").split(":");
    const there = dial(Number(port), "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      there.pipe(socket).pipe(there);
    });
    there.on("error", () => socket.destroy());
    socket.on("error", () => there.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void proxy.close());
  const proxyUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const { connection, url } = await connect((server) =>
    kubeconfig({ server, cluster: { ...trust, "proxy-url": proxyUrl }, user: certificate }),
  );
  await expect(connection.request(version)).resolves.toBe("ci");
  expect(asked).toEqual([new URL(url).host]);
});
