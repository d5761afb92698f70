import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";

/** Counts how often commands are started, outside of the system under test and wherever workers are. */
export interface Starts extends AsyncDisposable {
  of(name: string): number;
  /** A command that is counted by that name, and then takes a while. Not by the job's id: jobs of two servers may have the same. */
  command(name: string, host: string): readonly string[];
}

export async function openStarts(): Promise<Starts> {
  const counts = new Map<string, number>();
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", (line: Buffer) => {
      const name = line.toString().trim();
      counts.set(name, (counts.get(name) ?? 0) + 1);
      socket.end("counted\n");
    });
  });
  server.listen(0, "0.0.0.0");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    of: (name) => counts.get(name) ?? 0,
    command(name, host) {
      const call = `exec 3<>/dev/tcp/${host}/${port}; echo "${name}" >&3; read -r said <&3`;
      return ["bash", "-c", `${call}; sleep 0.5; [ "$said" = counted ]`];
    },
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}
