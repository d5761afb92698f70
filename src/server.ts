import { X509Certificate } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createSecureContext } from "node:tls";
import { fileURLToPath } from "node:url";
import { listenHttp } from "#api/http.ts";
import type { Config } from "#config.ts";
import { HodeiError } from "#error.ts";
import { openFileLogStore } from "#logstore/files/open.ts";
import type { LogStore } from "#logstore/logstore.ts";
import { createMetrics, type Metrics } from "#metrics.ts";
import { openProcessProvider } from "#provider/process/process-provider.ts";
import type { Provider } from "#provider/provider.ts";
import { type BindAddress, hostPort, resolveAddress, type TlsFiles } from "#rpc/listen.ts";
import { decodeSpec } from "#rpc/spec.ts";
import { startScheduler } from "#scheduler/start.ts";
import type { SchedulerOptions } from "#scheduler/start-options.ts";
import { openSqliteStore } from "#store/sqlite/open.ts";
import type { Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import { hashSecret } from "#worker/secret.ts";
import { countEnds } from "./server-counts.ts";
import { type Ground, openApi, type ServerState } from "./server-api.ts";
import { schedulerLimits, warmWishes, workerReuse } from "./server-settings.ts";

/** A running server. Disposing stops it in order: no new jobs, no new decisions, calls drained, then everything closed. */
export interface Server extends AsyncDisposable {
  /** Where clients connect, `host:port` as bound. */
  readonly address: string;
  /** Where metrics and health answer; undefined when they do not. */
  readonly httpAddress?: string;
  /** Resolves when a commit or log write failed and nobody knows what is on the disk: the process has to end, and to be started again. */
  readonly broken: Promise<Error>;
}

export interface ServerOptions {
  /** Variables of this process that workers on this machine get, such as `PATH` and `LANG`. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts a server: the only place that names concrete stores and providers. Resolves once it answers. */
export async function startServer(
  config: Config,
  log: Logger,
  { env = {} }: ServerOptions = {},
): Promise<Server> {
  await using parts = new AsyncDisposableStack(); // Undoes a start that fails halfway.
  const state: ServerState = { phase: "starting", isBroken: false };
  const broken = Promise.withResolvers<Error>();
  const onBroken = (error: Error): void => {
    state.isBroken = true;
    broken.resolve(error);
  };
  const address = await resolveAddress(config.listenAddress);
  const tls = tlsOf(config, address);
  const adminTokenHash = await readAdminToken(config);
  const metrics = createMetrics();
  const directory = resolve(config.dataDirectory);
  await mkdir(directory, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    const text = `HODEI_DATA_DIRECTORY: cannot make the folder ${directory}`;
    throw new HodeiError("invalid_argument", text, { cause });
  });

  const { store, logs } = await openStores(config, parts, { directory, metrics, log, onBroken });
  const providers: Provider[] = [];
  if (config.processEnabled) {
    providers.push(parts.use(await openProcesses(config, { env, directory, log })));
  }
  const given = { store, logs, providers, metrics, log };
  const options = await schedulerOptions(config, {
    ...given,
    dial: () => dialAddress(config, state, address),
  });
  const scheduler = parts.use(await startScheduler(options));
  const ground = {
    config,
    log,
    metrics,
    state,
    store,
    logs,
    scheduler,
    address,
    tls,
    adminTokenHash,
  };
  const httpAddress = await openHttp(ground, parts);
  const { api, standard } = await openApi(ground);
  parts.use(api);
  state.agentAddress = api.agentAddress;
  parts.defer(async () => {
    state.phase = "stopping";
    standard.setServing(false);
    await scheduler[Symbol.asyncDispose]();
  });
  state.phase = "ready";
  standard.setServing(true);
  log.info({ address: api.address, httpAddress, directory }, "server ready");
  const owned = parts.move();
  return {
    address: api.address,
    broken: broken.promise,
    ...(httpAddress === undefined ? {} : { httpAddress }),
    async [Symbol.asyncDispose]() {
      await owned.disposeAsync();
      log.flush();
    },
  };
}

async function schedulerOptions(
  config: Config,
  given: {
    readonly store: Store;
    readonly logs: LogStore;
    readonly providers: readonly Provider[];
    readonly metrics: Metrics;
    readonly log: Logger;
    readonly dial: () => string;
  },
): Promise<SchedulerOptions> {
  const { store, logs, providers, metrics, log, dial } = given;
  return {
    store,
    logStore: logs,
    providers,
    readSpec: decodeSpec,
    serverAddress: dial,
    ...(await serverCa(config)),
    log,
    metrics,
    limits: schedulerLimits(config),
    reuse: workerReuse(config),
    warm: warmWishes(config),
    weightOf: (tenant) => config.tenantWeights[tenant] ?? 1,
  };
}

interface Opening {
  readonly directory: string;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly onBroken: (error: Error) => void;
}

async function openStores(
  config: Config,
  parts: AsyncDisposableStack,
  { directory, metrics, log, onBroken }: Opening,
): Promise<{ readonly store: Store; readonly logs: LogStore }> {
  const store = countEnds(
    parts.use(
      await openSqliteStore({
        path: join(directory, "hodei.db"),
        tenantWeights: config.tenantWeights,
        onBroken,
      }),
    ),
    metrics,
  );
  const logs = parts.use(
    await openFileLogStore({
      directory: join(directory, "logs"),
      quotaBytesPerAttempt: config.logQuotaBytes,
      log,
      onBroken,
    }),
  );
  return { store, logs };
}

/** Plain text and anonymous access depend on the address that is bound, never on the peer's. */
function tlsOf(config: Config, address: BindAddress): TlsFiles | undefined {
  if (config.tlsCertFile !== "") {
    return {
      certFile: config.tlsCertFile,
      keyFile: config.tlsKeyFile,
      clientCaFile: config.tlsClientCaFile === "" ? undefined : config.tlsClientCaFile,
    };
  }
  if (address.isLoopback || config.allowPlaintext) return undefined;
  throw new HodeiError(
    "invalid_argument",
    `HODEI_LISTEN_ADDRESS: plain text on ${address.host}, which is not loopback`,
    { hint: "give HODEI_TLS_CERT_FILE and HODEI_TLS_KEY_FILE, or set HODEI_ALLOW_PLAINTEXT=1" },
  );
}

async function readAdminToken(config: Config): Promise<Uint8Array | undefined> {
  const { adminToken, adminTokenFile } = config;
  if (adminTokenFile === "") return adminToken === "" ? undefined : hashSecret(adminToken);
  const token = (await readNamed("HODEI_ADMIN_TOKEN_FILE", adminTokenFile)).trim();
  if (token.length >= 16) return hashSecret(token);
  throw new HodeiError("invalid_argument", "HODEI_ADMIN_TOKEN_FILE: holds less than 16 characters");
}

async function serverCa(config: Config): Promise<{ readonly serverCa?: string }> {
  if (config.tlsCertFile === "") return {};
  const key = await readNamed("HODEI_TLS_KEY_FILE", config.tlsKeyFile);
  if (config.tlsClientCaFile !== "") {
    await readCertificate("HODEI_TLS_CLIENT_CA_FILE", config.tlsClientCaFile);
  }
  const cert = await readCertificate("HODEI_TLS_CERT_FILE", config.tlsCertFile);
  try {
    createSecureContext({ cert, key });
  } catch (cause) {
    const text = `HODEI_TLS_KEY_FILE: ${config.tlsKeyFile} is not the key of ${config.tlsCertFile}`;
    throw new HodeiError("invalid_argument", text, { cause });
  }
  if (config.tlsCaFile === "") return { serverCa: cert };
  return { serverCa: await readCertificate("HODEI_TLS_CA_FILE", config.tlsCaFile) };
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

async function readNamed(variable: string, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new HodeiError("invalid_argument", `${variable}: cannot read ${file}`, { cause });
  }
}

async function openProcesses(
  config: Config,
  { directory, log, env }: { readonly directory: string; readonly log: Logger } & ServerOptions,
): Promise<Provider> {
  // From source the agent is a file of ours, from a package a bundle of its own.
  const isSource = import.meta.url.endsWith(".ts");
  const agent = new URL(isSource ? "./agent/main.ts" : "./agent.js", import.meta.url);
  return openProcessProvider({
    name: "process",
    directory: join(directory, "processes"),
    instanceId: "server",
    maxWorkers: config.processMaxWorkers,
    // A small young generation keeps the agent small, and forking it cheap.
    agentCommand: [process.execPath, "--max-semi-space-size=1", fileURLToPath(agent)],
    env: { PATH: plainPath, HODEI_LOG_LEVEL: config.logLevel, ...env },
    log,
  });
}

const plainPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** What agents dial. A wildcard is no address to dial; workers on this machine reach it over loopback. */
function dialAddress(config: Config, state: ServerState, address: BindAddress): string {
  if (config.serverAddress !== "") return config.serverAddress;
  const port = config.agentPort === 0 ? address.port : config.agentPort;
  const bound = state.agentAddress ?? (port === 0 ? undefined : hostPort(address.host, port));
  if (bound === undefined) throw new HodeiError("unavailable", "the server does not listen yet");
  return bound.replace(/^0\.0\.0\.0:/, "127.0.0.1:").replace(/^\[::\]:/, "[::1]:");
}

async function openHttp(ground: Ground, parts: AsyncDisposableStack): Promise<string | undefined> {
  const { config, log, metrics, state, logs } = ground;
  metrics.observe({
    name: "hodei_logs_open",
    help: "Logs that have not ended.",
    read: () => logs.stats().openLogs,
  });
  metrics.observe({
    name: "hodei_log_stored_bytes",
    help: "Bytes of logs on disk.",
    read: () => logs.stats().storedBytes,
  });
  if (config.httpAddress === "") return undefined;
  const problem = (): string | undefined => {
    if (state.isBroken) return "the store has to be opened again";
    if (state.phase !== "ready") return `the server is ${state.phase}`;
    return logs.stats().isWritable ? undefined : "the log store cannot be written";
  };
  const http = await listenHttp({
    address: await resolveAddress(config.httpAddress),
    log,
    readMetrics: async () => metrics.read(),
    checkLive: () => (state.isBroken ? "the store has to be opened again" : undefined),
    checkReady: problem,
    checkStarted: () => (state.phase === "starting" ? "the server is starting" : undefined),
  });
  parts.use(http);
  return http.address;
}
