import { Client, type ChannelCredentials, type ClientOptions, credentials } from "@grpc/grpc-js";
import { addressesIn, placeAfter } from "#addresses.ts";
import type { ChannelOptions } from "./channel.ts";
import { HodeiClientError } from "./error.ts";

const messageBytes = 64 * 1024 * 1024;
const windowBytes = 4 * 1024 * 1024;

/** The connections to one replica: one for calls, one for follows and watches, which may fill it. */
export interface Server {
  readonly calls: Client;
  readonly streams: Client;
}

/** The replicas that a client may ask, of which it uses one at a time. It begins with any, so that clients are spread. */
export class Servers {
  readonly #options: ChannelOptions;
  readonly #addresses: readonly string[];
  readonly #opened = new Map<string, Server>();
  #place: number;

  constructor(options: ChannelOptions) {
    this.#options = options;
    this.#addresses = read(options.address);
    this.#place = Math.floor(Math.random() * this.#addresses.length);
  }

  get count(): number {
    return this.#addresses.length;
  }

  /** The one to use now. */
  get current(): Server {
    const address = this.#addresses[this.#place] ?? "";
    const server = this.#opened.get(address) ?? this.#open(address);
    this.#opened.set(address, server);
    return server;
  }

  /** This one cannot be reached: the next one is used from now on, unless somebody has left it before. What still runs there goes on. */
  leave(server: Server): void {
    if (server === this.current) this.#place = placeAfter(this.#place, this.count);
  }

  close(): void {
    for (const { calls, streams } of this.#opened.values()) {
      calls.close();
      streams.close();
    }
  }

  #open(address: string): Server {
    const secure = credentialsOf(this.#options);
    const options = clientOptions(this.#options);
    return {
      calls: new Client(address, secure, options),
      streams: new Client(address, secure, options),
    };
  }
}

/** A single one may be anything that gRPC understands. */
function read(text: string): readonly string[] {
  if (!text.includes(",")) return [text];
  try {
    return addressesIn(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new HodeiClientError("INVALID_ARGUMENT", `address: ${reason}`, { cause: error });
  }
}

export function credentialsOf(options: ChannelOptions): ChannelCredentials {
  const { ca, cert, key } = options;
  if (options.tls !== true && ca === undefined && cert === undefined) {
    return credentials.createInsecure();
  }
  return credentials.createSsl(bytesOf(ca), bytesOf(key), bytesOf(cert));
}

function bytesOf(pem: string | Uint8Array | undefined): Buffer | null {
  if (pem === undefined) return null;
  return typeof pem === "string" ? Buffer.from(pem) : Buffer.from(pem);
}

export function clientOptions({ serverName }: ChannelOptions): ClientOptions {
  return {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_receive_message_length": messageBytes,
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 2_000,
    "grpc.enable_retries": 0,
    "grpc-node.flow_control_window": windowBytes,
    ...(serverName === undefined
      ? {}
      : {
          "grpc.ssl_target_name_override": serverName,
          "grpc.default_authority": serverName,
        }),
  };
}
