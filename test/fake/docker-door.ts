import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** Stands between a provider and the engine of this machine, and can be shut. */
export class DockerDoor implements AsyncDisposable {
  readonly #sockets = new Set<Socket>();
  /** The answer to the next request that fits is cut off; the engine has taken the request. */
  #cut: RegExp | undefined;
  #server: Server = createServer();
  #port = 0;

  static async open(): Promise<DockerDoor> {
    const door = new DockerDoor();
    await door.reopen();
    return door;
  }

  get host(): string {
    return `tcp://127.0.0.1:${this.#port}`;
  }

  cutNext(request: RegExp): void {
    this.#cut = request;
  }

  async shut(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async reopen(): Promise<void> {
    this.#server = createServer({ allowHalfOpen: true }, (outer) => this.#join(outer));
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.shut();
  }

  #join(outer: Socket): void {
    const inner = connect({ path: "/var/run/docker.sock", allowHalfOpen: true });
    for (const [socket, other] of [
      [outer, inner],
      [inner, outer],
    ] as const) {
      this.#sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.once("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    outer.on("data", (chunk: Buffer) => {
      if (this.#cut?.test(chunk.toString("latin1")) !== true) return;
      this.#cut = undefined;
      // Once the engine has answered it has done what it was asked for.
      inner.unpipe(outer);
      inner.once("data", () => outer.destroy()).resume();
    });
    outer.pipe(inner);
    inner.pipe(outer);
  }
}
