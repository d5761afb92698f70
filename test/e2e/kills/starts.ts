import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";

/** Counts how often each job's command is started, outside of the system under test and wherever workers are. */
export interface Starts extends AsyncDisposable {
  of(jobId: string): number;
  /** A command that is counted, and then takes a while. */
  commandFrom(host: string): readonly string[];
}

export async function openStarts(): Promise<Starts> {
  const counts = new Map<string, number>();
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", (line: Buffer) => {
      const jobId = line.toString().trim();
      counts.set(jobId, (counts.get(jobId) ?? 0) + 1);
      socket.end("counted\n");
    });
  });
  server.listen(0, "0.0.0.0");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    of: (jobId) => counts.get(jobId) ?? 0,
    commandFrom(host) {
      const call = `exec 3<>/dev/tcp/${host}/${port}; echo "$HODEI_JOB_ID" >&3; read -r said <&3`;
      return ["bash", "-c", `${call}; sleep 0.5; [ "$said" = counted ]`];
    },
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}
