import type { Server } from "@grpc/grpc-js";
import { constants, type Http2Server, type ServerHttp2Session } from "node:http2";

// grpc-js keeps Node's receive window of 64 KiB on servers, and has no option for it: that is 3.6 MB/s for one upload over a link of 10 ms.
// What follows reaches into its private fields, here and nowhere else; a test notices when they are gone.

/** How much a peer may send before it is read, in bytes. */
export const windows = { streamBytes: 4 * 1024 * 1024, sessionBytes: 16 * 1024 * 1024 } as const;

export interface ConnectionLimits {
  readonly maxConnections: number;
  /** How long a new connection may take until its HTTP/2 preface is complete. */
  readonly prefaceTimeoutMs: number;
}

/** Call before the server is bound. */
export function enlargeWindows(server: Server): void {
  const options: unknown = Reflect.get(server, "commonServerOptions");
  if (!isRecord(options)) throw new Error("grpc-js has no commonServerOptions any more");
  const settings = isRecord(options["settings"]) ? options["settings"] : {};
  options["settings"] = { ...settings, initialWindowSize: windows.streamBytes };
}

/** Call after the server was bound: what concerns its connections rather than its calls. */
export function limitConnections(server: Server, limits: ConnectionLimits): void {
  for (const inner of http2Servers(server)) {
    inner.maxConnections = limits.maxConnections;
    inner.prependListener("session", (session) => openSession(session, limits.prefaceTimeoutMs));
    inner.prependListener("stream", (_stream, headers) => {
      const timeout = headers["grpc-timeout"];
      if (typeof timeout === "string") headers["grpc-timeout"] = clampTimeout(timeout);
    });
  }
}

/** The addresses that a server listens on. */
export function boundAddresses(
  server: Server,
): { readonly address: string; readonly port: number }[] {
  return http2Servers(server).flatMap((inner) => {
    const bound = inner.address();
    return bound === null || typeof bound === "string" ? [] : [bound];
  });
}

/** Ends a call at once, also when its reader takes nothing: the client sees RESOURCE_EXHAUSTED. */
export function resetCall(call: object): void {
  const stream: unknown = Reflect.get(call, "stream");
  if (!isRecord(stream) || typeof stream["close"] !== "function") return;
  Reflect.apply(stream["close"], stream, [constants.NGHTTP2_ENHANCE_YOUR_CALM]);
}

/** grpc-js computes a timeout with 32-bit arithmetic, so that a long one has passed before it begins. */
export function clampTimeout(timeout: string): string {
  const match = /^(\d{1,8})([HMS])$/.exec(timeout);
  if (match === null) return timeout;
  const seconds = Number(match[1]) * (match[2] === "H" ? 3600 : match[2] === "M" ? 60 : 1);
  return seconds > longestTimeoutSeconds ? `${longestTimeoutSeconds}S` : timeout;
}

const longestTimeoutSeconds = 2_000_000;

function openSession(session: ServerHttp2Session, prefaceTimeoutMs: number): void {
  const timer = setTimeout(() => session.destroy(), prefaceTimeoutMs);
  timer.unref();
  session.once("remoteSettings", () => clearTimeout(timer));
  session.once("close", () => clearTimeout(timer));
  session.once("error", () => session.destroy());
  session.setLocalWindowSize(windows.sessionBytes);
}

function http2Servers(server: Server): Http2Server[] {
  const inner: unknown = Reflect.get(server, "http2Servers");
  if (!(inner instanceof Map)) throw new Error("grpc-js has no http2Servers any more");
  return [...(inner as Map<Http2Server, unknown>).keys()];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
