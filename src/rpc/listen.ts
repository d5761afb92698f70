import {
  experimental,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { lookup } from "node:dns/promises";
import { setTimeout as wait } from "node:timers/promises";
import { HodeiError } from "#error.ts";
import type { Edge } from "./edge.ts";
import { limitMessages, messageLimits } from "./limits.ts";
import { boundAddresses, enlargeWindows, limitConnections } from "./windows.ts";

/** Files of a server's identity; read again when they change. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** Who signs clients' certificates; undefined: none are asked for. */
  readonly clientCaFile: string | undefined;
}

export interface ServedService {
  readonly service: ServiceDefinition;
  readonly handlers: UntypedServiceImplementation;
  readonly maxMessageBytes: number;
}

export interface ListenOptions<Caller> {
  /** One that `resolveAddress` gave. */
  readonly address: BindAddress;
  readonly edge: Edge<Caller>;
  readonly services: readonly ServedService[];
  /** Adds what brings its own codecs, such as health and reflection. */
  readonly extend?: (server: Pick<Server, "addService">) => void;
  readonly tls: TlsFiles | undefined;
  /** Pause between two looks at the files of `tls`. */
  readonly tlsReloadMs?: number;
  readonly maxConnections: number;
  readonly maxStreamsPerConnection: number;
  /** How long calls may go on when the listener is disposed. */
  readonly drainMs: number;
}

export interface Listener extends AsyncDisposable {
  /** `host:port` as bound. */
  readonly address: string;
}

/** Where to listen, with the name already looked up: what is allowed depends on the address bound, never on the peer's. */
export interface BindAddress {
  readonly host: string;
  readonly port: number;
  readonly isLoopback: boolean;
}

const times = {
  keepaliveMs: 10_000,
  keepaliveTimeoutMs: 5_000,
  prefaceMs: 10_000,
  tlsReloadMs: 5_000,
};

/** Looks up `host:port`. Error: `invalid_argument`. */
export async function resolveAddress(text: string): Promise<BindAddress> {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const name = match?.[1] ?? match?.[2];
  if (name === undefined || port > 65_535) {
    throw new HodeiError("invalid_argument", `${text}: not host:port`);
  }
  const found = await lookup(name).catch((cause: unknown) => {
    throw new HodeiError("invalid_argument", `${text}: the host is not known`, { cause });
  });
  return { host: found.address, port, isLoopback: isLoopback(found.address) };
}

/** Serves calls on one address. Disposing lets calls end for `drainMs`, then cuts them off. */
export async function listen<Caller>(options: ListenOptions<Caller>): Promise<Listener> {
  const server = new Server({
    "grpc.keepalive_time_ms": times.keepaliveMs,
    "grpc.keepalive_timeout_ms": times.keepaliveTimeoutMs,
    "grpc.max_concurrent_streams": options.maxStreamsPerConnection,
    "grpc.max_receive_message_length": messageLimits.transportBytes,
    "grpc.max_send_message_length": -1,
    "grpc.enable_channelz": 0,
    interceptors: [options.edge.interceptor],
  });
  enlargeWindows(server);
  for (const { service, handlers, maxMessageBytes } of options.services) {
    server.addService(limitMessages(service, maxMessageBytes), handlers);
  }
  options.extend?.(server);
  await bind(server, options);
  limitConnections(server, {
    maxConnections: options.maxConnections,
    prefaceTimeoutMs: times.prefaceMs,
  });
  const port = boundAddresses(server)[0]?.port ?? options.address.port;
  return {
    address: hostPort(options.address.host, port),
    [Symbol.asyncDispose]: async () => drain(server, options.drainMs),
  };
}

/** `host:port`, with brackets where they are needed. */
export function hostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

export function isLoopback(address: string): boolean {
  return address === "::1" || /^(::ffff:)?127\.\d+\.\d+\.\d+$/.test(address);
}

async function bind<Caller>(server: Server, options: ListenOptions<Caller>): Promise<void> {
  const { host, port } = options.address;
  using identity =
    options.tls === undefined ? undefined : await openIdentity(options.tls, options.tlsReloadMs);
  const credentials = identity?.credentials ?? ServerCredentials.createInsecure();
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(hostPort(host, port), credentials, (error) => {
      if (error === null) resolve();
      else {
        server.forceShutdown();
        const text = `cannot listen on ${hostPort(host, port)}`;
        reject(new HodeiError("unavailable", text, { cause: error }));
      }
    });
  });
}

/** Credentials that follow their files. grpc-js drops connections until these were read once, so that is waited for. Dispose it once a server is bound. */
async function openIdentity(
  tls: TlsFiles,
  refreshIntervalMs: number = times.tlsReloadMs,
): Promise<Disposable & { readonly credentials: ServerCredentials }> {
  const { FileWatcherCertificateProvider, createCertificateProviderServerCredentials } =
    experimental;
  const files = new FileWatcherCertificateProvider({
    certificateFile: tls.certFile,
    privateKeyFile: tls.keyFile,
    caCertificateFile: tls.clientCaFile,
    refreshIntervalMs,
  });
  const read = Promise.withResolvers<unknown>();
  const onRead = (identity: unknown): void => read.resolve(identity);
  files.addIdentityCertificateListener(onRead);
  const stop = (): void => files.removeIdentityCertificateListener(onRead);
  if ((await read.promise) === null) {
    stop();
    throw new HodeiError("invalid_argument", `cannot read ${tls.certFile} and ${tls.keyFile}`);
  }
  // The declaration names its first two parameters the wrong way round.
  const credentials = createCertificateProviderServerCredentials(
    files,
    tls.clientCaFile === undefined ? null : files,
    false,
  );
  return { credentials, [Symbol.dispose]: stop };
}

async function drain(server: Server, drainMs: number): Promise<void> {
  const isClosed = new Promise<"closed">((resolve) => server.tryShutdown(() => resolve("closed")));
  const stop = new AbortController();
  const isLate = wait(drainMs, "late" as const, { signal: stop.signal }).catch(() => "closed");
  if ((await Promise.race([isClosed, isLate])) === "late") server.forceShutdown();
  stop.abort();
}
