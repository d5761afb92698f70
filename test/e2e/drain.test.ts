import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { HodeiClientError } from "#client/client.ts";
import { note, outputOf, readLedger, untilNoted } from "./ledger.ts";
import { clientForTest, launcher, startForTest } from "./server-process.ts";

const lines = 200;
const whole = Array.from({ length: lines }, (_, line) => `line ${line + 1}\n`).join("");

/** Writes on through the stop and the start of the server, and ends when the gate is there. */
const writer = (ledger: string, gate: string): string => `
${note("start", ledger)}
i=1
while [ $i -le ${lines} ]; do echo "line $i"; i=$((i+1)); sleep 0.02; done
while [ ! -e ${gate} ]; do sleep 0.05; done
${note("stop", ledger)}
exit 5`;

test("G9 a drain leaves the running job alone, and the same attempt ends after the restart", async () => {
  const server = await startForTest();
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const gate = join(server.directory, "gate");
  const { id } = await client.submit({ script: writer(ledger, gate) });
  await untilNoted(ledger, "start");
  const before = await client.get(id);
  expect(await server.end("SIGTERM")).toBe(0);
  expect(server.agents()).toHaveLength(1);
  writeFileSync(gate, "");
  await server.start();
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "failed", exitCode: 5 });
  expect(job.attempts.map((attempt) => attempt.id)).toEqual(
    before.attempts.map((attempt) => attempt.id),
  );
  expect(await outputOf(client, id)).toEqual({ text: whole, gaps: 0 });
  expect(readLedger(ledger).map(({ word }) => word)).toEqual(["start", "stop"]);
  await server.isEmpty();
});

test("G6 a result that came up while the server was away is the job's outcome", async () => {
  const server = await startForTest();
  const client = clientForTest(server);
  const ledger = join(server.directory, "ledger");
  const gate = join(server.directory, "gate");
  const { id } = await client.submit({ script: writer(ledger, gate) });
  await untilNoted(ledger, "start");
  await server.end("SIGKILL");
  writeFileSync(gate, "");
  await untilNoted(ledger, "stop");
  await server.start();
  const job = await client.wait(id);
  expect(job).toMatchObject({ state: "failed", exitCode: 5, attempts: [{ number: 1 }] });
  expect(await outputOf(client, id)).toEqual({ text: whole, gaps: 0 });
  await server.isEmpty();
});

test("G1 no submit that was acknowledged before or while the server stopped is lost", async () => {
  const server = await startForTest({ HODEI_PROCESS_ENABLED: "0" });
  const impatient = { maxRetries: 0, outageMs: 0 };
  const accepted: string[] = [];
  const refusals: HodeiClientError[] = [];
  const stop = new AbortController();
  const drivers = Array.from({ length: 4 }, async () => {
    await using client = server.client(undefined, impatient);
    while (!stop.signal.aborted && refusals.length === 0) {
      try {
        accepted.push((await client.submit({ command: ["true"] })).id);
      } catch (error) {
        if (!(error instanceof HodeiClientError)) throw error;
        refusals.push(error);
      }
    }
  });
  await vi.waitUntil(() => accepted.length > 50, { timeout: 30_000 });
  expect(await server.end("SIGTERM")).toBe(0);
  stop.abort();
  await Promise.all(drivers);
  expect(refusals.map(({ code }) => code)).toEqual(refusals.map(() => "UNAVAILABLE"));
  expect(refusals.length).toBeGreaterThan(0);
  await server.start();
  const client = clientForTest(server);
  const kept = new Set<string>();
  for await (const job of client.list()) kept.add(job.id);
  expect(accepted.filter((id) => !kept.has(id))).toEqual([]);
});

test("a drain waits for calls, takes no new jobs meanwhile, and a second signal ends it at once", async () => {
  const server = await startForTest({ HODEI_DRAIN_TIMEOUT_MS: "3600000" });
  const client = server.client(undefined, { maxRetries: 0, outageMs: 0 });
  onTestFinished(() => client.close());
  const ledger = join(server.directory, "ledger");
  const { id } = await client.submit({ script: `${note("start", ledger)}\nsleep 1000` });
  await untilNoted(ledger, "start");
  const following = outputOf(client, id, { follow: true }).catch((error: unknown) => error);
  server.signal("SIGTERM");
  await vi.waitUntil(() => server.readLog().includes('"stopping"'), { timeout: 10_000 });
  await expect(client.submit({ command: ["true"] })).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(await server.end("SIGTERM")).toBe(128 + 15);
  client.close();
  await following;
});

test("a server that is asked to stop before it is ready ends, though a cluster has not answered yet", async () => {
  const directory = mkdtempSync(join(tmpdir(), "hodei-e2e-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const silent = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void silent.close());
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  const kubeconfig = join(directory, "kubeconfig");
  const named = (kind: string, value: object) => [{ name: "silent", [kind]: value }];
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "silent",
      clusters: named("cluster", { server: `http://127.0.0.1:${port}` }),
      users: named("user", {}),
      contexts: named("context", { cluster: "silent", user: "silent" }),
    }),
  );
  const child = spawn(process.execPath, [launcher, "server"], {
    env: {
      PATH: process.env["PATH"] ?? "",
      HODEI_LISTEN_ADDRESS: "127.0.0.1:0",
      HODEI_HTTP_ADDRESS: "",
      HODEI_DATA_DIRECTORY: join(directory, "data"),
      HODEI_KUBERNETES_ENABLED: "1",
      HODEI_K8S_KUBECONFIG: kubeconfig,
      HODEI_K8S_REQUEST_TIMEOUT_MS: "600000",
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const parts: Buffer[] = [];
  child.stdout.on("data", (part: Buffer) => void parts.push(part));
  await once(silent, "connection");
  child.kill("SIGTERM");
  const [code] = (await once(child, "close")) as [number | null];
  expect(Buffer.concat(parts).toString()).toContain('"stopping before it is ready"');
  expect(code).toBe(0);
});
