import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Between a client and its server, each behind a socket file or a port of the loopback; it can fail in the ways that a network fails. */
export class Proxy implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "hodei-proxy-"));
  readonly path = join(this.folder, "proxy.sock");
  readonly url = `unix://${this.path}`;
  /** Where new connections go: a socket file or a port. */
  target: string | number;
  /** Whether answers are swallowed; what is asked goes through. */
  isDeaf = false;
  /** Whether new connections are closed at once. */
  isShut = false;
  /** Pieces of answers that were swallowed. */
  swallowed = 0;
  /** How long each piece is kept back, both ways. */
  delayMs = 0;
  readonly #sockets = new Set<Socket>();
  #frozen = new WeakSet<Socket>();
  readonly #server: Server;

  constructor(target: string | number) {
    this.target = target;
    this.#server = createServer((client) => this.#take(client));
  }

  async listen(port?: number): Promise<this> {
    if (port === undefined) this.#server.listen(this.path);
    else this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
    return this;
  }

  /** Connections that are open now, both sides of each. */
  get size(): number {
    return this.#sockets.size;
  }

  /** Breaks all connections with a reset; new ones are as the fields say. */
  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#sockets.clear();
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
    const { target } = this;
    const server = typeof target === "number" ? connect(target, "127.0.0.1") : connect(target);
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
    }
    client.on("data", (bytes) => this.#pass(bytes, server));
    server.on("data", (bytes) => {
      if (this.isDeaf) this.swallowed++;
      else this.#pass(bytes, client);
    });
    client.on("close", () => this.#end(client, server));
    server.on("close", () => this.#end(server, client));
  }

  #end(gone: Socket, other: Socket): void {
    this.#sockets.delete(gone);
    other.destroy();
  }

  #pass(bytes: Buffer, to: Socket): void {
    if (this.#frozen.has(to)) return;
    if (this.delayMs === 0) to.write(bytes);
    else setTimeout(() => to.destroyed || to.write(bytes), this.delayMs);
  }
}
