import { readFileSync } from "node:fs";
import { join } from "node:path";
import Docker from "dockerode";
import { HodeiError } from "#error.ts";
import type { DockerConfig } from "./config.ts";

const callMs = 120_000;

/** Two clients of one engine. */
export interface Engine {
  /** For calls that are answered soon; one that hangs is given up. */
  readonly calls: Docker;
  /** For what may be silent for as long as it likes: events, waiting, pulls. */
  readonly streams: Docker;
}

/** Does not connect yet. Error: `invalid_argument` for an address or certificates that are none. */
export function openEngine({ host, certDirectory, certificates }: DockerConfig): Engine {
  const isTls = certDirectory !== "" || certificates !== undefined;
  const none = { ca: undefined, cert: undefined, key: undefined };
  const own = certificates === undefined ? certificatesIn(certDirectory) : certificates;
  const target = { ...targetOf(host, isTls), ...none, ...own };
  return { calls: new Docker({ ...target, timeout: callMs }), streams: new Docker(target) };
}

/** Every field is given, since the client would take what is missing from this process's environment. */
function targetOf(host: string, isTls: boolean): Docker.DockerOptions {
  const none = { host: undefined, port: undefined, socketPath: undefined };
  if (host === "") return { ...none, socketPath: "/var/run/docker.sock" };
  const path = /^(?:unix|npipe):\/\/(.+)$/.exec(host)?.[1];
  if (path !== undefined) return { ...none, socketPath: path };
  const url = URL.canParse(host) ? new URL(host) : undefined;
  const isKnown = url !== undefined && ["tcp:", "http:", "https:"].includes(url.protocol);
  if (!isKnown || url.hostname === "") {
    throw new HodeiError("invalid_argument", `${host} is no address of a Docker engine`);
  }
  const protocol = isTls || url.protocol === "https:" ? "https" : "http";
  const port = url.port === "" ? (protocol === "https" ? 2376 : 2375) : Number(url.port);
  return { ...none, host: url.hostname, port, protocol };
}

function certificatesIn(directory: string): Docker.DockerOptions {
  if (directory === "") return { ca: undefined, cert: undefined, key: undefined };
  const read = (name: string): string => {
    const path = join(directory, name);
    try {
      return readFileSync(path, "utf8");
    } catch (cause) {
      throw new HodeiError("invalid_argument", `cannot read ${path}`, { cause });
    }
  };
  return { ca: read("ca.pem"), cert: read("cert.pem"), key: read("key.pem") };
}

/** The HTTP status that the engine answered with; 0 when there was no answer. */
export function statusOf(error: unknown): number {
  const status = fieldOf(error, "statusCode");
  return typeof status === "number" ? status : 0;
}

/** The engine's own words. */
export function wordsOf(error: unknown): string {
  const said = fieldOf(fieldOf(error, "json"), "message");
  const text = typeof said === "string" ? said : error instanceof Error ? error.message : "";
  // The client puts its own words before those of an answer that comes as a stream.
  const words = text
    .replace(/^\(HTTP code \d+\) [^-]*- /, "")
    .replace(/\s+/g, " ")
    .trim();
  const code = fieldOf(error, "code");
  return words === "" ? (typeof code === "string" ? code : "no reason given") : words.slice(0, 500);
}

/** Whether the request certainly never reached an engine. */
export function isUnsent(error: unknown): boolean {
  const codes = ["ECONNREFUSED", "ENOENT", "EACCES", "ENOTFOUND", "EHOSTUNREACH", "ENETUNREACH"];
  return codes.includes(String(fieldOf(error, "code")));
}

function fieldOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || !(name in value)) return undefined;
  return (value as Readonly<Record<string, unknown>>)[name];
}

/** Resolves with undefined where the engine says that there is no such thing. */
export async function unlessMissing<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}
