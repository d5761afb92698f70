import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, vi } from "vitest";
import { HodeiClient, type Provider } from "#client/client.ts";
import { parseConfig } from "#config.ts";
import { type Server, startServer } from "#server.ts";
import { createLogger } from "#telemetry.ts";

/** A folder of the test's own. */
export function folderForTest(): string {
  const folder = mkdtempSync(join(tmpdir(), "hodei-registry-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
  return folder;
}

export interface Running {
  readonly server: Server;
  readonly client: HodeiClient;
  /** Lines of its own log. */
  readonly logged: readonly string[];
  readonly stop: () => Promise<void>;
}

type Env = Readonly<Record<string, string>>;

/** A server with its data in that folder, until the test ends or it is stopped. */
export async function start(folder: string, env: Env = {}): Promise<Running> {
  const running = await openServer(folder, env);
  onTestFinished(running.stop);
  return running;
}

/** The same until it is stopped. */
export async function openServer(folder: string, env: Env = {}): Promise<Running> {
  const { config } = parseConfig({
    HODEI_LISTEN_ADDRESS: "127.0.0.1:0",
    HODEI_HTTP_ADDRESS: "",
    HODEI_DATA_DIRECTORY: join(folder, "data"),
    HODEI_DRAIN_TIMEOUT_MS: "1000",
    ...env,
  });
  const logged: string[] = [];
  const log = createLogger("debug", { write: (line: string) => void logged.push(line) });
  const { PATH = "" } = process.env;
  const server = await startServer(config, log, { env: { PATH } });
  const client = new HodeiClient({ address: server.address });
  let isOver = false;
  const stop = async (): Promise<void> => {
    if (isOver) return;
    isOver = true;
    client.close();
    await server[Symbol.asyncDispose]();
  };
  return { server, client, logged, stop };
}

/** Resolves once no worker is left. */
export async function noWorkers(client: HodeiClient): Promise<void> {
  await vi.waitFor(
    async () => {
      for await (const { id } of client.workers.list()) throw new Error(`${id} is there`);
    },
    { timeout: 20_000, interval: 50 },
  );
}

/** Oldest first, in a few words each. */
export async function eventsOf(client: HodeiClient, name: string): Promise<string[]> {
  const words: string[] = [];
  for await (const { kind, from, to } of client.providers.events(name)) {
    words.push([kind, from, to].filter((word) => word !== "").join(" "));
  }
  return words.toReversed();
}

/** Everything below the data directory, as bytes. */
export function stored(folder: string): Buffer {
  const files = readdirSync(join(folder, "data"), { recursive: true, withFileTypes: true });
  const paths = files
    .filter((file) => file.isFile())
    .map((file) => join(file.parentPath, file.name));
  return Buffer.concat(paths.map((path) => readFileSync(path)));
}

export const secret = "a-token-that-nobody-may-see-0123456789";

export function kubeconfig(change: { user?: object; cluster?: object } = {}): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "it",
    clusters: [{ name: "it", cluster: { server: "https://127.0.0.1:1", ...change.cluster } }],
    users: [{ name: "it", user: { token: secret, ...change.user } }],
    contexts: [{ name: "it", context: { cluster: "it", user: "it" } }],
  });
}

export const named = (providers: readonly Provider[]): string[] =>
  providers.map(({ name }) => name);
