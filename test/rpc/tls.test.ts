import { Client, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { toStatus } from "#api/status.ts";
import { Edge } from "#rpc/edge.ts";
import { listen, type Listener, resolveAddress } from "#rpc/listen.ts";
import { safeHandlers } from "#rpc/serve.ts";
import { createLogger } from "#telemetry.ts";

const fixture = (name: string): string => join(import.meta.dirname, "tls", name);
const directory = mkdtempSync(join(tmpdir(), "hodei-tls-"));
const certFile = join(directory, "server.pem");
const keyFile = join(directory, "server.key");
const echo = {
  path: "/t.T/Who",
  requestStream: false,
  responseStream: false,
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString(),
} as const;
let listener: Listener;

beforeAll(async () => {
  copyFileSync(fixture("server.pem"), certFile);
  copyFileSync(fixture("server.key"), keyFile);
  const edge = new Edge<string>({
    log: createLogger("silent"),
    admit: (incoming) => incoming.authContext().sslPeerCertificate?.subject.CN?.toString() ?? "-",
    toStatus,
    onEnd: () => undefined,
  });
  const service = { who: echo };
  const handlers = safeHandlers(edge, service, { who: (_message, call) => call.caller });
  listener = await listen({
    address: await resolveAddress("127.0.0.1:0"),
    edge,
    services: [{ service, handlers, maxMessageBytes: 100 }],
    tls: { certFile, keyFile, clientCaFile: fixture("ca.pem") },
    tlsReloadMs: 20,
    maxConnections: 10,
    maxStreamsPerConnection: 10,
    drainMs: 100,
  });
});

afterAll(async () => {
  await listener[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

async function who(name?: string): Promise<string> {
  const ca = readFileSync(fixture("ca.pem"));
  const channel =
    name === undefined
      ? credentials.createSsl(ca)
      : credentials.createSsl(
          ca,
          readFileSync(fixture(`${name}.key`)),
          readFileSync(fixture(`${name}.pem`)),
        );
  const client = new Client(listener.address, channel, { "grpc.use_local_subchannel_pool": 1 });
  try {
    return await new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, answer?: string): void => {
        if (error === null) resolve(answer ?? "");
        else reject(error);
      };
      const { path, requestSerialize, responseDeserialize } = echo;
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, "x", done);
    });
  } finally {
    client.close();
  }
}

async function servedName(): Promise<string> {
  const [host, port] = listener.address.split(":");
  return new Promise((resolve, reject) => {
    const options = { host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ["h2"] };
    const socket = connect(options, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.once("error", reject);
  });
}

test("a client's certificate gives its name; without one, or with a stranger's, there is none", async () => {
  expect(await who("client")).toBe("ci");
  expect(await who()).toBe("-");
  expect(await who("stranger")).toBe("-");
});

test("plain text is not spoken", async () => {
  const client = new Client(listener.address, credentials.createInsecure());
  const code = await new Promise((resolve) => {
    const { path, requestSerialize, responseDeserialize } = echo;
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, "x", (error) =>
      resolve(error?.code),
    );
  });
  client.close();
  expect(code).toBe(status.UNAVAILABLE);
});

test("a renewed certificate is served without a restart", async () => {
  expect(await servedName()).toBe("server one");
  copyFileSync(fixture("renewed.pem"), certFile);
  copyFileSync(fixture("renewed.key"), keyFile);
  await expect.poll(servedName).toBe("server two");
  expect(await who("client")).toBe("ci");
});
