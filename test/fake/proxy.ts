import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Between a client and its server, both behind socket files; it can fail in the ways that a network fails. */
export class Proxy implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "hodei-proxy-"));
  readonly path = join(this.folder, "proxy.sock");
  readonly url = `unix://${this.path}`;
  /** Where new connections go. */
  target: string;
  /** Whether answers are swallowed; what is asked goes through. */
  isDeaf = false;
  /** Whether new connections are closed at once. */
  isShut = false;
  /** How long each piece is kept back, both ways. */
  delayMs = 0;
  readonly #sockets = new Set<Socket>();
  #frozen = new WeakSet<Socket>();
  readonly #server: Server;

  constructor(target: string) {
    this.target = target;
    this.#server = createServer((client) => this.#take(client));
  }

  async listen(): Promise<this> {
    this.#server.listen(this.path);
    await once(this.#server, "listening");
    return this;
  }

  /** Closes all connections without a word; new ones are as the fields say. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  /** Swallows everything on the connections that there are, both ways, and closes none: they are half open. New ones work. */
  freeze(): void {
    this.#frozen = new WeakSet(this.#sockets);
  }

  /** Lets everything through again, on new connections. */
  heal(): void {
    [this.isDeaf, this.isShut, this.delayMs] = [false, false, 0];
    this.cut();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.heal();
    this.#server.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #take(client: Socket): void {
    if (this.isShut) {
      client.destroy();
      return;
    }
    const server = connect(this.target);
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
    }
    client.on("data", (bytes) => this.#pass(bytes, server));
    server.on("data", (bytes) => this.isDeaf || this.#pass(bytes, client));
    client.on("close", () => server.destroy());
    server.on("close", () => client.destroy());
  }

  #pass(bytes: Buffer, to: Socket): void {
    if (this.#frozen.has(to)) return;
    if (this.delayMs === 0) to.write(bytes);
    else setTimeout(() => to.destroyed || to.write(bytes), this.delayMs);
  }
}
