import { HodeiError } from "#error.ts";

/** Sends a message; resolves as soon as another one may be sent. Rejects when the call is over, or its reader is blocked for too long. */
export type Write<Message> = (message: Message) => Promise<void>;

/** Bounds of what waits for a slow reader. */
export const writeLimits = { messages: 4, stallMs: 60_000 } as const;

interface Target {
  write(message: unknown, done: () => void): boolean;
}

interface Ending {
  readonly signal: AbortSignal;
  reset(): void;
}

/** Writes to a call with a bound on what waits in memory; a reader that takes nothing for `stallMs` loses the call. */
export function createWriter(
  raw: Target,
  call: Ending,
  stallMs: number = writeLimits.stallMs,
): Write<unknown> {
  let waiting = 0;
  let wake: (() => void) | undefined;
  const done = (): void => {
    waiting--;
    wake?.();
  };
  const room = async (): Promise<"more" | "over" | "stalled"> => {
    if (call.signal.aborted) return "over";
    const { promise, resolve } = Promise.withResolvers<"more" | "over" | "stalled">();
    const stalled = setTimeout(() => resolve("stalled"), stallMs);
    const ended = (): void => resolve("over");
    call.signal.addEventListener("abort", ended, { once: true });
    wake = () => resolve("more");
    const outcome = await promise;
    wake = undefined;
    clearTimeout(stalled);
    call.signal.removeEventListener("abort", ended);
    return outcome;
  };
  return async (message) => {
    if (call.signal.aborted) throw over();
    waiting++;
    raw.write(message, done);
    while (waiting >= writeLimits.messages) {
      const outcome = await room();
      if (outcome === "over") throw over();
      if (outcome === "stalled") {
        call.reset();
        throw new HodeiError("resource_exhausted", `the reader took nothing for ${stallMs} ms`);
      }
    }
  };
}

function over(): HodeiError {
  return new HodeiError("cancelled", "the call is over");
}
