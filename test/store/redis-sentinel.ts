import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface SentinelOptions {
  readonly port: number;
  /** Port of the primary that it watches under the name `main`. */
  readonly primary: number;
  /** More lines for its file. */
  readonly settings?: readonly string[];
  /** How its port is set. */
  readonly listens?: string;
}

/** A sentinel of a test's own; alone, it decides alone. */
export class RedisSentinel implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "hodei-sentinel-"));
  readonly #process: ChildProcess;

  constructor({ port, primary, settings = [], listens = `port ${port}` }: SentinelOptions) {
    const file = join(this.#folder, "sentinel.conf");
    const lines = [
      listens,
      ...settings,
      "bind 127.0.0.1",
      `dir ${this.#folder}`,
      `sentinel monitor main 127.0.0.1 ${primary} 1`,
      "sentinel down-after-milliseconds main 300",
      "sentinel failover-timeout main 2000",
    ];
    writeFileSync(file, `${lines.join("\n")}\n`);
    this.#process = spawn("redis-server", [file, "--sentinel"], { stdio: "ignore" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const exited = once(this.#process, "exit");
      this.#process.kill("SIGKILL");
      await exited;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
