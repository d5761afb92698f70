import { once } from "node:events";
import type { Readable } from "node:stream";
import pc from "picocolors";
import type { HodeiClient, HodeiClientOptions } from "#client/client.ts";
import { HodeiClientError } from "#client/error.ts";
import { readFileSync } from "node:fs";
import { addressesIn } from "#addresses.ts";
import { escapeLine } from "./escape.ts";
import { UsageError } from "./exit.ts";
import type { Host, Output } from "./host.ts";

/** The flags that every verb has. */
export interface CommonFlags {
  readonly server?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly tls?: boolean;
  readonly output?: "text" | "json";
  readonly color?: boolean;
}

export type Colors = ReturnType<typeof pc.createColors>;

/** What a verb talks to: the user on one side, the server on the other. */
export interface Console {
  readonly host: Host;
  readonly isJson: boolean;
  readonly colors: Colors;
  /** Writes a line to standard output. */
  readonly print: (line: string) => Promise<void>;
  /** Writes a line of JSON to standard output. */
  readonly printJson: (value: unknown) => Promise<void>;
  /** Writes a line to standard error. */
  readonly note: (line: string) => Promise<void>;
  readonly connect: (address?: string) => Promise<HodeiClient>;
  /** Where the flags and the environment say that the server is, and who asks. */
  readonly channel: () => HodeiClientOptions;
}

const defaultServer = "127.0.0.1:50051";

export function openConsole(host: Host, flags: CommonFlags): Console {
  const colors = pc.createColors(wantsColors(host, flags));
  return {
    host,
    isJson: flags.output === "json",
    colors,
    print: (line) => write(host.stdout, `${line}\n`),
    printJson: (value) => write(host.stdout, `${toJson(value)}\n`),
    note: (line) => write(host.stderr, `${line}\n`),
    connect: (address) => connect(host, flags, address),
    channel: () => channelOf(host, flags),
  };
}

/** Waits while the reader is slower than we are. */
export async function write(output: Output, data: string | Uint8Array): Promise<void> {
  if (!output.write(data)) await once(output, "drain");
}

/** One line; bytes become base 64, dates ISO 8601. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, function (this: Record<string, unknown>, key, shown: unknown) {
    // A Buffer has become an object by now; the field itself has not.
    const field = this[key];
    return field instanceof Uint8Array ? Buffer.from(field).toString("base64") : shown;
  });
}

/** One line for a person about what went wrong, or an object for a program. */
export function describeError(error: unknown, isJson: boolean): string {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof HodeiClientError ? error.code : undefined;
  if (isJson)
    return toJson({
      error: { code: code ?? (error instanceof UsageError ? "USAGE" : "INTERNAL"), message },
    });
  return `hodei: ${escapeLine(message)}`;
}

export async function readAll(input: Readable): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of input as AsyncIterable<Buffer | string>) parts.push(Buffer.from(part));
  return Buffer.concat(parts);
}

export function readFile(path: string, flag: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const reason = cause instanceof Error && "code" in cause ? ` (${String(cause.code)})` : "";
    throw new UsageError(`${flag}: cannot read ${path}${reason}`);
  }
}

async function connect(
  host: Host,
  flags: CommonFlags,
  address: string | undefined,
): Promise<HodeiClient> {
  const { HodeiClient } = await import("#client/client.ts");
  return new HodeiClient(address === undefined ? channelOf(host, flags) : { address });
}

function channelOf(host: Host, flags: CommonFlags): HodeiClientOptions {
  const { env } = host;
  const ca = flags.ca ?? env["HODEI_CA_CERT_PATH"];
  const cert = flags.cert ?? env["HODEI_CLIENT_CERT_PATH"];
  const key = flags.key ?? env["HODEI_CLIENT_KEY_PATH"];
  if ((cert === undefined) !== (key === undefined)) {
    throw new UsageError("--cert and --key are given together");
  }
  return {
    address: addressOf(host, flags),
    token: tokenOf(host, flags),
    tls: flags.tls,
    ca: ca === undefined ? undefined : readFile(ca, "--ca"),
    cert: cert === undefined ? undefined : readFile(cert, "--cert"),
    key: key === undefined ? undefined : readFile(key, "--key"),
  };
}

function addressOf({ env }: Host, flags: CommonFlags): string {
  const source = flags.server === undefined ? "HODEI_SERVER" : "--server";
  const text = flags.server ?? (env["HODEI_SERVER"] || defaultServer);
  try {
    return addressesIn(text).join(",");
  } catch (error) {
    throw new UsageError(`${source}: ${error instanceof Error ? error.message : text}`);
  }
}

/** Flags win over the environment. */
function tokenOf({ env }: Host, flags: CommonFlags): string | undefined {
  const fromFile = (path: string): string => readFile(path, "--token-file").toString().trim();
  if (flags.token !== undefined) return flags.token;
  if (flags.tokenFile !== undefined) return fromFile(flags.tokenFile);
  if (env["HODEI_TOKEN"]) return env["HODEI_TOKEN"];
  return env["HODEI_TOKEN_FILE"] ? fromFile(env["HODEI_TOKEN_FILE"]) : undefined;
}

function wantsColors({ env, stdout }: Host, flags: CommonFlags): boolean {
  return (
    stdout.isTTY === true && flags.color !== false && !env["NO_COLOR"] && flags.output !== "json"
  );
}
