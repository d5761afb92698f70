import { Redis } from "ioredis";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A Redis of a test's own, behind a socket file; it can die and come back with what it has on disk. */
export class RedisServer {
  readonly folder = mkdtempSync(join(tmpdir(), "hodei-redis-"));
  readonly path = join(this.folder, "redis.sock");
  readonly url = `unix://${this.path}`;
  readonly #settings: readonly string[];
  #process: ChildProcess | undefined;

  constructor(...settings: readonly string[]) {
    this.#settings = settings;
  }

  async start(): Promise<this> {
    const always = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
    const where = ["--port", "0", "--unixsocket", this.path, "--dir", this.folder];
    const all = [...where, ...always, "--maxmemory-policy", "noeviction", ...this.#settings];
    this.#process = spawn("redis-server", all, { stdio: "ignore" });
    for (let tries = 0; tries < 1_000 && !(await this.#answers()); tries++) {
      if (this.#process.exitCode !== null) throw new Error("redis-server has ended");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return this;
  }

  connect(): Redis {
    return new Redis(this.path);
  }

  signal(name: NodeJS.Signals): void {
    this.#process?.kill(name);
  }

  async kill(): Promise<void> {
    const gone = this.#process;
    this.#process = undefined;
    if (gone === undefined || gone.exitCode !== null || gone.signalCode !== null) return;
    const exited = once(gone, "exit");
    gone.kill("SIGKILL");
    await exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #answers(): Promise<boolean> {
    const socket = connect(this.path);
    try {
      await once(socket, "connect");
      socket.write("PING\r\n");
      const [answer] = (await once(socket, "data")) as [Buffer];
      return answer.toString().startsWith("+PONG");
    } catch {
      return false;
    } finally {
      socket.destroy();
    }
  }
}

/** A port that nobody has, for now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
