import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { closeSync, mkdtempSync, openSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, vi } from "vitest";
import { HodeiClient, type RetryOptions } from "#client/client.ts";
import { listProcesses, treeOf } from "#processes.ts";

export const launcher = join(import.meta.dirname, "../../bin/hodei.js");

/** A process of a worker: its agent, or something of a job. */
export interface WorkerProcess {
  readonly pid: number;
  readonly command: string;
  /** Only of agents. */
  readonly workerId: string | undefined;
}

/** Starts a server that ends with the test. */
export async function startForTest(env: ServerEnv = {}): Promise<ServerProcess> {
  const server = await ServerProcess.start(env);
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

/** A client that is closed with the test, whatever it still waits for. */
export function clientForTest(server: ServerProcess, token?: string): HodeiClient {
  const client = server.client(token);
  onTestFinished(() => client.close());
  return client;
}

/** Variables of the server, which may depend on the port that clients and agents dial. */
export type ServerEnv =
  Readonly<Record<string, string>> | ((port: number) => Readonly<Record<string, string>>);

/** A server as an operator starts it: a process of its own, killed and started again on the same address and folder. */
export class ServerProcess implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "hodei-e2e-"));
  readonly env: Readonly<Record<string, string>>;
  readonly port: number;
  readonly #address: string;
  readonly #httpAddress: string;
  readonly #nodeArguments: readonly string[];
  readonly #markers = new Set<string>();
  #child: ChildProcess | undefined;

  private constructor(
    ports: readonly [number, number],
    env: Readonly<Record<string, string>>,
    nodeArguments: readonly string[],
  ) {
    this.#nodeArguments = nodeArguments;
    this.port = ports[0];
    this.#address = `127.0.0.1:${ports[0]}`;
    this.#httpAddress = `127.0.0.1:${ports[1]}`;
    this.env = {
      PATH: process.env["PATH"] ?? "",
      HODEI_LISTEN_ADDRESS: this.#address,
      HODEI_HTTP_ADDRESS: this.#httpAddress,
      HODEI_DATA_DIRECTORY: join(this.directory, "data"),
      ...tenthOfTheTime,
      ...env,
    };
  }

  /** Starts one, and waits until it is ready. */
  static async start(
    env: ServerEnv = {},
    nodeArguments: readonly string[] = [],
  ): Promise<ServerProcess> {
    return ServerProcess.startAt(await freePort(), env, nodeArguments);
  }

  /** On that port. */
  static async startAt(
    port: number,
    env: ServerEnv,
    nodeArguments: readonly string[] = [],
  ): Promise<ServerProcess> {
    const given = typeof env === "function" ? env(port) : env;
    const server = new ServerProcess([port, await freePort()], given, nodeArguments);
    try {
      await server.start();
    } catch (error) {
      // Whoever waits for it has nothing to end.
      await server[Symbol.asyncDispose]();
      throw error;
    }
    return server;
  }

  get address(): string {
    return this.#address;
  }

  get logFile(): string {
    return join(this.directory, "server.log");
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error("the server does not run");
    return pid;
  }

  get isRunning(): boolean {
    const child = this.#child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /** Resolves once the process that runs now is over. */
  async exited(): Promise<void> {
    if (this.#child !== undefined && this.isRunning) await once(this.#child, "exit");
  }

  /** Starts it again, for this time with other settings where `changes` says so. */
  async start(changes: Readonly<Record<string, string>> = {}): Promise<void> {
    const log = openSync(this.logFile, "a");
    this.#child = spawn(process.execPath, [...this.#nodeArguments, launcher, "server"], {
      env: { ...this.env, ...changes },
      cwd: this.directory,
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    await vi
      .waitUntil(() => this.#isReady(), { timeout: 90_000, interval: 50 })
      .catch(() => {
        throw new Error(`the server is not ready: ${this.readLog().slice(-2_000)}`);
      });
    if (this.#child.exitCode !== null) {
      throw new Error(`the server ended: ${this.readLog().slice(-2_000)}`);
    }
  }

  /** Sends a signal and waits for the end; resolves to the exit code, undefined when the signal killed it. */
  async end(signal: NodeJS.Signals): Promise<number | undefined> {
    const child = this.#child;
    if (child === undefined) return undefined;
    this.#child = undefined;
    if (child.exitCode === null && child.signalCode === null) {
      child.kill(signal);
      await once(child, "exit");
    }
    return child.exitCode ?? undefined;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  client(token?: string, retry?: RetryOptions): HodeiClient {
    const known = token ?? this.env["HODEI_ADMIN_TOKEN"] ?? "";
    const ca = this.env["HODEI_TLS_AUTO"] === "1" ? readFileSync(this.caFile) : undefined;
    return new HodeiClient({ address: this.#address, token: known, retry, ca });
  }

  get #dataDirectory(): string {
    return this.env["HODEI_DATA_DIRECTORY"] ?? this.directory;
  }

  /** Several servers may share it. */
  get #workersDirectory(): string {
    return this.env["HODEI_PROCESS_DIRECTORY"] ?? this.#dataDirectory;
  }

  /** Where the HTTP listener answers, `host:port`. */
  get httpAddress(): string {
    return this.#httpAddress;
  }

  /** Where the server keeps the authority that it made for itself. */
  get caFile(): string {
    return join(this.#dataDirectory, "tls", "ca.crt");
  }

  /** What the server wrote to its standard streams so far. */
  readLog(): string {
    return readFileSync(this.logFile, "utf8");
  }

  /** Text of its metrics. */
  async readMetrics(): Promise<string> {
    return (await fetch(`http://${this.#httpAddress}/metrics`)).text();
  }

  /**
   * Processes of this server's workers and jobs that exist now: by the markers of its agents, which all that they start inherits, by their folder, and
   * by descent, so that a job which drops its environment is seen too.
   */
  workerProcesses(): readonly WorkerProcess[] {
    const all = listProcesses().filter(({ isZombie }) => !isZombie);
    const views = all.map(({ pid }) => viewOf(pid));
    const agents = views.filter(
      ({ environ }) =>
        environ.includes("HODEI_WORKER_ID=") && environ.includes(this.#workersDirectory),
    );
    for (const { environ } of agents) {
      const marker = /HODEI_WORKER_MARKER=[0-9a-f]+/.exec(environ)?.[0];
      if (marker !== undefined) this.#markers.add(marker);
    }
    const roots = views.filter(
      ({ cwd, environ }) =>
        cwd.startsWith(this.#workersDirectory) ||
        [...this.#markers].some((marker) => environ.includes(marker)),
    );
    const pids = new Set(
      treeOf(
        [...agents, ...roots].map(({ pid }) => pid),
        all,
      ).map(({ pid }) => pid),
    );
    return views
      .filter(({ pid }) => pids.has(pid))
      .map(({ pid, command, environ }) => ({
        pid,
        command,
        workerId: agents.some((agent) => agent.pid === pid)
          ? /HODEI_WORKER_ID=([^\0]*)/.exec(environ)?.[1]
          : undefined,
      }));
  }

  /** The agents among its processes. */
  agents(): readonly WorkerProcess[] {
    return this.workerProcesses().filter(({ workerId }) => workerId !== undefined);
  }

  /** Resolves once no process of any worker or job is left (DESIGN G12). */
  async isEmpty(): Promise<void> {
    await vi.waitFor(() => expect(this.workerProcesses()).toEqual([]), {
      timeout: 40_000,
      interval: 200,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGKILL");
    for (const { pid } of this.workerProcesses()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Gone by itself.
      }
    }
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** True also when it has ended: then there is nothing to wait for. */
  async #isReady(): Promise<boolean> {
    if (this.#child?.exitCode !== null) return true;
    try {
      return (await fetch(`http://${this.#httpAddress}/health/ready`)).ok;
    } catch {
      return false; // It does not listen yet.
    }
  }
}

function viewOf(pid: number) {
  const read = (look: () => string): string => {
    try {
      return look();
    } catch {
      return ""; // It ended while it was looked at.
    }
  };
  return {
    pid,
    environ: read(() => readFileSync(`/proc/${pid}/environ`, "latin1")),
    command: read(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")).replaceAll("\0", " "),
    cwd: read(() => readlinkSync(`/proc/${pid}/cwd`)),
  };
}

const tenthOfTheTime = {
  HODEI_RENEW_INTERVAL_MS: "300",
  HODEI_SUSPECT_AFTER_MS: "1500",
  HODEI_DISCONNECT_GRACE_MS: "500",
  HODEI_START_DEADLINE_MS: "24000",
  HODEI_SWEEP_INTERVAL_MS: "100",
  HODEI_PROVISION_INTERVAL_MS: "100",
  HODEI_REAP_INTERVAL_MS: "500",
  HODEI_DRAIN_TIMEOUT_MS: "2000",
} as const;

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
