import type { ServerDuplexStream } from "@grpc/grpc-js";

/**
 * The messages of a client stream, one at a time: nothing more is read from the connection before the one given was
 * taken. Ends when the client has sent its last one, or the call is over.
 */
export async function* receive<Request>(
  raw: ServerDuplexStream<Request, unknown>,
  signal: AbortSignal,
): AsyncGenerator<Request, void, undefined> {
  const held: Request[] = [];
  let isEnded = false;
  let wake = (): void => undefined;
  const end = (): void => {
    isEnded = true;
    wake();
  };
  raw.on("data", (message: Request) => {
    held.push(message);
    raw.pause();
    wake();
  });
  raw.once("end", end);
  signal.addEventListener("abort", end, { once: true });
  for (;;) {
    const message = held.shift();
    if (message !== undefined) {
      yield message;
      if (held.length === 0) raw.resume();
    } else if (isEnded) return;
    else await new Promise<void>((resolve) => (wake = resolve));
  }
}
