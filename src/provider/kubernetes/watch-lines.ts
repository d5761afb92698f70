import { KubeError } from "./kube-error.ts";

/** Longer than any object that an API server stores. */
const maxLineLength = 16 * 1024 * 1024;

/** The lines of a watch. Ends when the signal aborts; throws a `KubeError` when the connection is cut. */
export async function* lines(
  call: string,
  body: AsyncIterable<unknown>,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for await (const chunk of body) {
      if (!(chunk instanceof Uint8Array)) continue;
      rest += decoder.decode(chunk, { stream: true });
      let start = 0;
      for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n", start)) {
        if (end > start) yield rest.slice(start, end);
        start = end + 1;
      }
      rest = rest.slice(start);
      if (rest.length > maxLineLength) throw new Error("a line of the watch is too long");
    }
    if (rest !== "") yield rest;
  } catch (cause) {
    if (signal.aborted) return;
    const message = cause instanceof Error ? cause.message : "cut";
    throw new KubeError({
      call,
      status: 0,
      reason: codeOf(cause),
      message: `the watch was cut: ${message}`,
      cause,
    });
  }
}

/** What Node or undici calls it, such as `ECONNRESET`. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  if ("code" in error && typeof error.code === "string") return error.code;
  // A host of several addresses that all refuse.
  return error instanceof AggregateError ? codeOf(error.errors[0]) : codeOf(error.cause);
}
