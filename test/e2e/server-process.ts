import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { vi } from "vitest";
import { HodeiClient } from "#client/client.ts";

const launcher = join(import.meta.dirname, "../../bin/hodei.js");

/** A server as an operator starts it: a process of its own, killed and started again on the same address and folder. */
export class ServerProcess implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "hodei-e2e-"));
  readonly env: Readonly<Record<string, string>>;
  readonly #address: string;
  readonly #httpAddress: string;
  #child: ChildProcess | undefined;

  private constructor(ports: readonly [number, number], env: Readonly<Record<string, string>>) {
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
  static async start(env: Readonly<Record<string, string>> = {}): Promise<ServerProcess> {
    const server = new ServerProcess([await freePort(), await freePort()], env);
    await server.start();
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

  async start(): Promise<void> {
    const log = openSync(this.logFile, "a");
    this.#child = spawn(process.execPath, [launcher, "server"], {
      env: this.env,
      cwd: this.directory,
      stdio: ["ignore", log, log],
    });
    await vi.waitFor(() => this.#isReady(), { timeout: 30_000, interval: 50 });
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

  client(token?: string): HodeiClient {
    return new HodeiClient({
      address: this.#address,
      ...(token === undefined ? {} : { token }),
    });
  }

  /** Processes of this server's workers and jobs that exist now, by the folder that they were given. */
  workerProcesses(): readonly { readonly pid: number; readonly command: string }[] {
    const worker = Buffer.from(this.directory);
    return readdirSync("/proc").flatMap((entry) => {
      const pid = Number(entry);
      if (!Number.isInteger(pid) || pid === this.#child?.pid) return [];
      try {
        const environment = readFileSync(`/proc/${pid}/environ`);
        const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        const isOurs = environment.includes("HODEI_") && environment.includes(worker);
        return isOurs && !command.includes("hodei.js") && command !== "" ? [{ pid, command }] : [];
      } catch {
        // The process ended while it was looked at.
        return [];
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGTERM");
    for (const { pid } of this.workerProcesses()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Gone by itself.
      }
    }
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #isReady(): Promise<void> {
    if (this.#child?.exitCode !== null) {
      throw new Error(`the server ended: ${readFileSync(this.logFile, "utf8").slice(-2_000)}`);
    }
    const answer = await fetch(`http://${this.#httpAddress}/health/ready`);
    if (!answer.ok) throw new Error(`not ready: ${answer.status}`);
  }
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

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
