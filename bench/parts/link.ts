import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A link with a round trip time: a TCP proxy that hands every piece on after a delay. */
export const calls = { start };

async function start(options: {
  readonly target: string;
  readonly roundTripMs: number;
}): Promise<string> {
  const [host = "127.0.0.1", port = "0"] = options.target.split(":");
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ host, port: Number(port), noDelay: true });
    carry(near, far, options.roundTripMs / 2);
    carry(far, near, options.roundTripMs / 2);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A full receiver stops the sender, as a full link would. */
function carry(from: Socket, to: Socket, delayMs: number): void {
  from.on("data", (bytes) => {
    setTimeout(() => {
      if (to.destroyed || to.write(bytes)) return;
      from.pause();
      to.once("drain", () => from.resume());
    }, delayMs);
  });
  from.on("end", () => setTimeout(() => to.end(), delayMs));
  from.on("error", () => to.destroy());
  from.on("close", () => setTimeout(() => to.destroy(), delayMs + 50));
}
