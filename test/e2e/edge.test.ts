import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { HodeiClient } from "#client/client.ts";
import { clientForTest, launcher, ServerProcess } from "./server-process.ts";

let server: ServerProcess;
let client: HodeiClient;

beforeAll(async () => {
  server = await ServerProcess.start({ HODEI_PROCESS_ENABLED: "0" });
  client = server.client();
});

afterAll(async () => {
  client.close();
  await server[Symbol.asyncDispose]();
});

test("G3 one key is one job, however many submit it at once over several connections", async () => {
  const clients = Array.from({ length: 5 }, () => clientForTest(server));
  const spec = { command: ["true"], labels: { kind: "same" } };
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, at) => {
      const one = clients[at % clients.length] ?? client;
      return one.submit(spec, { idempotencyKey: "one" });
    }),
  );
  expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
  expect(answers.filter(({ alreadyExisted }) => !alreadyExisted)).toHaveLength(1);
  const listed = [];
  for await (const job of client.list({ labels: { kind: "same" } })) listed.push(job.id);
  expect(listed).toEqual([answers[0]?.id]);
});

test("G3 one key with two specs at once is one job, and the others are told its id", async () => {
  const answers = await Promise.allSettled(
    Array.from({ length: 20 }, (_, at) =>
      clientForTest(server).submit({ command: ["echo", `${at}`] }, { idempotencyKey: "two" }),
    ),
  );
  const ids = answers.flatMap((one) => (one.status === "fulfilled" ? [one.value.id] : []));
  expect(ids).toHaveLength(1);
  for (const answer of answers) {
    if (answer.status === "fulfilled") continue;
    expect(answer.reason).toMatchObject({ code: "ALREADY_EXISTS" });
    expect(String(answer.reason)).toContain(ids[0]);
  }
});

test("G3 a key is remembered across the server's death", async () => {
  const spec = { command: ["echo", "kept"] };
  const first = await client.submit(spec, { idempotencyKey: "three" });
  await server.end("SIGKILL");
  await server.start();
  const again = await client.submit(spec, { idempotencyKey: "three" });
  expect(again).toMatchObject({ id: first.id, alreadyExisted: true });
});

test("a second server on the same data is refused with the path and whose it is", async () => {
  const child = spawn(process.execPath, [launcher, "server"], {
    env: {
      PATH: process.env["PATH"] ?? "",
      HODEI_LISTEN_ADDRESS: "127.0.0.1:0",
      HODEI_HTTP_ADDRESS: "127.0.0.1:0",
      HODEI_DATA_DIRECTORY: join(server.directory, "data"),
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const parts: Buffer[] = [];
  child.stderr.on("data", (part: Buffer) => parts.push(part));
  const [code] = await once(child, "close");
  const text = Buffer.concat(parts).toString();
  expect(code).toBe(1);
  expect(text).toContain(join(server.directory, "data"));
  expect(text).toContain(`process ${server.pid}`);
  expect(text.trim().split("\n").length).toBeLessThanOrEqual(2);
  await client.submit({ command: ["true"] });
});

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/** Length, type, flags, stream. */
const frame = (bytes: number, type: number, stream: number): Buffer =>
  Buffer.from([bytes >> 16, (bytes >> 8) & 255, bytes & 255, type, 0, 0, 0, 0, stream]);
const garbage: readonly { readonly what: string; readonly bytes: () => Buffer }[] = [
  { what: "random bytes", bytes: () => randomBytes(64 * 1024) },
  { what: "nothing", bytes: () => Buffer.alloc(0) },
  { what: "half a preface", bytes: () => Buffer.from(preface.slice(0, 11)) },
  { what: "a preface and zeros", bytes: () => Buffer.from(preface + "\0".repeat(4_096)) },
  { what: "1 MiB of zeros", bytes: () => Buffer.alloc(1024 * 1024) },
  {
    what: "a preface and random bytes",
    bytes: () => Buffer.concat([Buffer.from(preface), randomBytes(64 * 1024)]),
  },
  {
    what: "a frame that is longer than any may be",
    bytes: () => Buffer.concat([Buffer.from(preface), frame(0xffffff, 0, 1), Buffer.alloc(1024)]),
  },
  {
    what: "broken headers",
    bytes: () => Buffer.concat([Buffer.from(preface), frame(200, 1, 1), randomBytes(200)]),
  },
  { what: "a request of HTTP/1.1", bytes: () => Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n") },
  {
    what: "endless headers of HTTP/1.1",
    bytes: () => Buffer.from(`GET / HTTP/1.1\r\n${"x: y\r\n".repeat(100_000)}`),
  },
];

test.for(garbage)("$what on either port harms nobody", async ({ bytes }) => {
  const { pid } = server;
  const watched = await client.submit({ command: ["true"] });
  const watch = client.watch(watched.id);
  expect((await watch.next()).value).toMatchObject({ state: "queued" });
  await Promise.all(
    [server.address, server.httpAddress].flatMap((address) =>
      [1, 2, 3].map(() => sendAndLeave(address, bytes())),
    ),
  );
  await client.cancel(watched.id);
  const rest = [];
  for await (const event of watch) rest.push(event.state);
  expect(rest.at(-1)).toBe("cancelled");
  expect(await server.readMetrics()).toContain("hodei_jobs_");
  expect(server.pid).toBe(pid);
  expect(server.readLog()).not.toMatch(/uncaught|"level":60/);
});

test.for([
  { what: "a job of 2 MiB", spec: { command: ["true"], stdin: "x".repeat(2 * 1024 * 1024) } },
  { what: "a spec of 100 KiB", spec: { command: ["echo", "x".repeat(100 * 1024)] } },
])("$what is refused, and names what is too large", async ({ spec }) => {
  await expect(client.submit(spec)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await client.submit({ command: ["true"] });
});

/** Sends, closes its side, and waits for the end; whatever comes back is read and dropped. */
async function sendAndLeave(address: string, bytes: Buffer): Promise<void> {
  const [host, port] = address.split(":");
  const socket = connect({ host, port: Number(port) });
  socket.on("error", () => undefined);
  socket.resume();
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.end(bytes);
  // A server may wait for more than a client sends; leaving rudely is part of it.
  socket.setTimeout(500, () => socket.destroy());
  await closed;
}
