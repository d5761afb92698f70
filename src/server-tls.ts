import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import type { Config } from "#config.ts";
import { HodeiError } from "#error.ts";
import { every } from "#every.ts";
import { addressesIn } from "#addresses.ts";
import type { Authority } from "#rpc/ca.ts";
import type { BindAddress, TlsFiles } from "#rpc/listen.ts";
import type { Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import { sharedAuthorities } from "./server-replica.ts";

/** How a server speaks TLS; without files it speaks plain text. */
export interface ServerTls {
  readonly files: TlsFiles | undefined;
  /** PEM of what agents have to find behind the server. */
  readonly ca: (() => string) | undefined;
  /** Where that is for others, when the server made it itself. */
  readonly caFile: string | undefined;
  /** Keeps its own certificate good until disposed. */
  keep(store: Pick<Store, "listLiveWorkers">): AsyncDisposable;
}

/** How often the server looks whether its own certificate is to be renewed. */
const lookMs = 3_600_000;

/** Plain text and anonymous access depend on the address that is bound, never on the peer's. Error: `invalid_argument`. */
export function refusePlainText(config: Config, address: BindAddress): void {
  if (config.tlsCertFile !== "" || config.tlsAuto) return;
  if (address.isLoopback || config.allowPlaintext) return;
  throw new HodeiError(
    "invalid_argument",
    `HODEI_LISTEN_ADDRESS: plain text on ${address.host}, which is not loopback`,
    {
      hint: "set HODEI_TLS_AUTO=1, give HODEI_TLS_CERT_FILE and HODEI_TLS_KEY_FILE, or set HODEI_ALLOW_PLAINTEXT=1",
    },
  );
}

/** Reads or makes what the server shows. Errors: `invalid_argument`. */
export async function openTls(
  config: Config,
  address: BindAddress,
  ground: {
    readonly directory: string;
    readonly log: Logger;
    readonly store: Pick<Store, "replicas">;
  },
): Promise<ServerTls> {
  const clientCaFile = config.tlsClientCaFile === "" ? undefined : config.tlsClientCaFile;
  if (clientCaFile !== undefined) await readCertificate("HODEI_TLS_CLIENT_CA_FILE", clientCaFile);
  if (config.tlsCertFile !== "") {
    const { tlsCertFile: certFile, tlsKeyFile: keyFile } = config;
    const ca = await givenAuthority(config);
    const files = { certFile, keyFile, clientCaFile };
    return { files, ca: () => ca, caFile: undefined, keep: keepNothing };
  }
  if (!config.tlsAuto) {
    return { files: undefined, ca: undefined, caFile: undefined, keep: keepNothing };
  }
  // Making certificates needs packages that nobody else needs.
  const { openAuthority } = await import("#rpc/ca.ts");
  const authority = await openAuthority({
    directory: join(ground.directory, "tls"),
    names: await namesOf(config, address),
    shared: await sharedAuthorities(config, ground.store, ground.directory),
    log: ground.log,
  });
  const { certFile, keyFile, caFile } = authority;
  return {
    files: { certFile, keyFile, clientCaFile },
    ca: () => authority.bundle,
    caFile,
    keep: (store) => keep(authority, store, ground.log),
  };
}

/** What is dialled: this machine, the address that is bound, and what agents and others were told. */
async function namesOf(config: Config, address: BindAddress): Promise<readonly string[]> {
  const { serviceNames } = await import("#rpc/ca.ts");
  const dialled = config.serverAddress === "" ? [] : addressesIn(config.serverAddress);
  const hosts = dialled.map((one) => one.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1"));
  const isWildcard = address.host === "0.0.0.0" || address.host === "::";
  return [
    ...new Set([
      "localhost",
      "127.0.0.1",
      "::1",
      ...(isWildcard ? [] : [address.host]),
      ...hosts.flatMap((host) => serviceNames(host.toLowerCase())),
      // By this name containers reach the machine that they run on.
      ...(config.dockerEnabled ? ["host.docker.internal"] : []),
      ...config.tlsAutoNames,
    ]),
  ];
}

function keep(
  authority: Authority,
  store: Pick<Store, "listLiveWorkers">,
  log: Logger,
): AsyncDisposable {
  const onError = (error: unknown): void =>
    log.error({ err: error, certFile: authority.certFile }, "cannot renew the server certificate");
  return every({ intervalMs: lookMs, onError }, async () => {
    const workers = await store.listLiveWorkers();
    const plannedAt = workers.map((worker) => worker.plannedAt);
    await authority.renew(plannedAt.length === 0 ? undefined : Math.min(...plannedAt));
  });
}

function keepNothing(): AsyncDisposable {
  return { [Symbol.asyncDispose]: async () => undefined };
}

async function givenAuthority(config: Config): Promise<string> {
  const key = await readNamed("HODEI_TLS_KEY_FILE", config.tlsKeyFile);
  const cert = await readCertificate("HODEI_TLS_CERT_FILE", config.tlsCertFile);
  try {
    createSecureContext({ cert, key });
  } catch (cause) {
    const text = `HODEI_TLS_KEY_FILE: ${config.tlsKeyFile} is not the key of ${config.tlsCertFile}`;
    throw new HodeiError("invalid_argument", text, { cause });
  }
  return config.tlsCaFile === "" ? cert : readCertificate("HODEI_TLS_CA_FILE", config.tlsCaFile);
}

/** A listener with a file that is none would start, and then drop every connection. */
async function readCertificate(variable: string, file: string): Promise<string> {
  const text = await readNamed(variable, file);
  try {
    void new X509Certificate(text).subject;
    return text;
  } catch (cause) {
    throw new HodeiError("invalid_argument", `${variable}: ${file} holds no certificate`, {
      cause,
    });
  }
}

/** The text of a file that a setting names. Error: `invalid_argument`. */
export async function readNamed(variable: string, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new HodeiError("invalid_argument", `${variable}: cannot read ${file}`, { cause });
  }
}
