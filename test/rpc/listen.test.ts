import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toStatus } from "#api/status.ts";
import { HodeiError } from "#error.ts";
import { channelOptions } from "#rpc/channel.ts";
import { Edge } from "#rpc/edge.ts";
import { isLoopback, listen, type Listener, resolveAddress } from "#rpc/listen.ts";
import { safeHandlers } from "#rpc/serve.ts";
import { clampTimeout, windows } from "#rpc/windows.ts";
import { createLogger } from "#telemetry.ts";

const text = {
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => {
    if (bytes[0] === 0xff) throw new Error("garbage");
    return bytes.toString();
  },
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString(),
};
const service = {
  echo: { path: "/t.T/Echo", requestStream: false, responseStream: false, ...text },
  count: { path: "/t.T/Count", requestStream: false, responseStream: true, ...text },
  chat: { path: "/t.T/Chat", requestStream: true, responseStream: true, ...text },
} as const;

let listener: Listener;
let client: Client;
const lines: string[] = [];
const ended: string[] = [];
const aborted: string[] = [];

beforeAll(async () => {
  const edge = new Edge<string>({
    log: createLogger("debug", { write: (line) => void lines.push(line) }),
    admit: ({ metadata }) => {
      const [who] = metadata.get("who");
      if (who === "nobody") throw new HodeiError("unauthenticated", "go away");
      if (who === "bug") throw new Error("a bug in admit");
      return who === "late" ? Promise.resolve("late") : String(who ?? "anon");
    },
    toStatus,
    onEnd: (method, code) => void ended.push(`${method} ${code}`),
  });
  const handlers = safeHandlers(edge, service, {
    echo: (message, call) => {
      if (message === "refuse") throw new HodeiError("not_found", "no such thing");
      if (message === "bug") throw new Error("a bug with a secret");
      return `${call.caller} ${message.length > 100 ? message.length : message} ${call.correlationId}`;
    },
    async count(message, call, write) {
      call.signal.addEventListener("abort", () => void aborted.push(message));
      for (let at = 1; at <= Number(message); at++) await write(String(at));
      if (message === "3") throw new HodeiError("aborted", "after three");
      if (message === "0") await once(call.signal, "abort");
    },
    async chat(messages, _call, write) {
      for await (const message of messages) {
        if (message === "bug") throw new Error("a bug in chat");
        await write(message.toUpperCase());
      }
    },
  });
  listener = await listen({
    address: await resolveAddress("127.0.0.1:0"),
    edge,
    services: [{ service, handlers, maxMessageBytes: 1_000 }],
    tls: undefined,
    maxConnections: 10,
    maxStreamsPerConnection: 100,
    drainMs: 100,
  });
  client = new Client(listener.address, credentials.createInsecure(), channelOptions());
});

afterAll(async () => {
  client.close();
  await listener[Symbol.asyncDispose]();
});

const metadataOf = (values: Record<string, string>): Metadata => {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(values)) metadata.set(key, value);
  return metadata;
};

async function echo(
  message: string | Buffer,
  values: Record<string, string> = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const encode = (value: string | Buffer): Buffer => Buffer.from(value);
    const done = (error: ServiceError | null, answer?: string): void => {
      if (error === null) resolve(answer ?? "");
      else reject(error);
    };
    const { path } = service.echo;
    client.makeUnaryRequest(
      path,
      encode,
      text.responseDeserialize,
      message,
      metadataOf(values),
      done,
    );
  });
}

describe("a call", () => {
  test("has a caller and a correlation id", async () => {
    expect(await echo("hi", { who: "ann", "x-correlation-id": "c-1" })).toBe("ann hi c-1");
    expect(await echo("hi", { who: "late" })).toMatch(/^late hi [\w-]{16}$/);
    expect(await echo("hi", { "x-correlation-id": "x".repeat(129) })).toMatch(
      /^anon hi [\w-]{16}$/,
    );
  });

  test.for([
    [{ who: "nobody" }, "x", status.UNAUTHENTICATED, "go away"],
    [{ who: "bug" }, "x", status.INTERNAL, "internal error"],
    [{}, "refuse", status.NOT_FOUND, "no such thing"],
    [{}, "bug", status.INTERNAL, "internal error"],
    [{}, "x".repeat(1_001), status.RESOURCE_EXHAUSTED, "1000"],
    [{}, "x".repeat(2_000_000), status.RESOURCE_EXHAUSTED, ""],
    [{}, Buffer.from([0xff]), status.INVALID_ARGUMENT, "cannot be decoded"],
  ] as const)("%j fails as it should", async ([values, message, code, details]) => {
    await expect(echo(message, values)).rejects.toMatchObject({
      code,
      details: expect.stringContaining(details),
    });
  });

  test("that fails by a bug is logged with its correlation id", async () => {
    await echo("bug", { "x-correlation-id": "bug-1" }).catch(() => undefined);
    const line = lines.find((entry) => entry.includes("bug-1"));
    expect(line).toContain("a bug with a secret");
    expect(ended).toContain(`/t.T/Echo ${status.INTERNAL}`);
  });

  test("with a very long deadline is not late", async () => {
    expect(await echo("hi", { "grpc-timeout": "99999999H" })).toContain("hi");
  });
});

test.for([
  ["99999999H", "2000000S"],
  ["99999999M", "2000000S"],
  ["5S", "5S"],
  ["99999999m", "99999999m"],
  ["x", "x"],
] as const)("a timeout of %s becomes %s", ([given, kept]) => {
  expect(clampTimeout(given)).toBe(kept);
});

describe("a stream", () => {
  const count = (message: string) =>
    client.makeServerStreamRequest(
      service.count.path,
      text.requestSerialize,
      text.responseDeserialize,
      message,
    );

  test("gives everything before its error", async () => {
    const got: string[] = [];
    const stream = count("3");
    stream.on("data", (message: string) => void got.push(message));
    const [error] = (await once(stream, "error", { signal: AbortSignal.timeout(5_000) })) as [
      ServiceError,
    ];
    expect(got).toEqual(["1", "2", "3"]);
    expect(error).toMatchObject({ code: status.ABORTED, details: "after three" });
  });

  test("that is cancelled aborts its signal once", async () => {
    const stream = count("0");
    stream.on("error", () => undefined);
    await expect.poll(() => ended.length).toBeGreaterThan(0);
    stream.cancel();
    await expect.poll(() => aborted.filter((message) => message === "0")).toHaveLength(1);
  });

  test("of messages is answered one by one, and a bug ends only itself", async () => {
    const chat = client.makeBidiStreamRequest(
      service.chat.path,
      text.requestSerialize,
      text.responseDeserialize,
    );
    const codes: number[] = [];
    chat.on("error", ({ code }: ServiceError) => void codes.push(code));
    chat.write("a");
    expect(await once(chat, "data")).toEqual(["A"]);
    chat.write("bug");
    await expect.poll(() => codes).toEqual([status.INTERNAL]);
    expect(await echo("still there")).toContain("still there");
  });
});

describe("a connection", () => {
  test("is granted large windows", async () => {
    const session = connectHttp2(`http://${listener.address}`);
    await once(session, "remoteSettings");
    expect(session.remoteSettings.initialWindowSize).toBe(windows.streamBytes);
    expect(session.remoteSettings.maxConcurrentStreams).toBe(100);
    await expect
      .poll(() => session.state.remoteWindowSize)
      .toBeGreaterThanOrEqual(windows.sessionBytes - 65_536);
    session.destroy();
  });

  test.for([
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "\0".repeat(1_000),
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\xff".repeat(500),
  ])("that sends garbage harms nobody: %j", async (garbage) => {
    const [host = "", port] = listener.address.split(":");
    const socket = connect(Number(port), host);
    socket.on("error", () => undefined);
    socket.resume();
    await once(socket, "connect");
    socket.end(Buffer.from(garbage, "latin1"));
    await once(socket, "close");
    expect(await echo("alive")).toContain("alive");
  });
});

test.for([
  ["127.0.0.1", true],
  ["127.8.8.8", true],
  ["::1", true],
  ["::ffff:127.0.0.1", true],
  ["0.0.0.0", false],
  ["::", false],
  ["10.0.0.1", false],
] as const)("%s is loopback: %s", ([address, expected]) => {
  expect(isLoopback(address)).toBe(expected);
});

test.for(["", "localhost", "a:b", "127.0.0.1:99999", "[::1"])(
  "%j is no address",
  async (address) => {
    await expect(resolveAddress(address)).rejects.toMatchObject({ code: "invalid_argument" });
  },
);
