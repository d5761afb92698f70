import { mkdir } from "node:fs/promises";
import { resolve } from "node:path";
import type { WriteBackup } from "#api/admin-service.ts";
import { listenHttp } from "#api/http.ts";
import type { Config } from "#config.ts";
import { HodeiError } from "#error.ts";
import type { LogStore } from "#logstore/logstore.ts";
import { createMetrics, type Metrics } from "#metrics.ts";
import { type BindAddress, hostPort, resolveAddress } from "#rpc/listen.ts";
import { decodeSpec } from "#rpc/spec.ts";
import { startScheduler } from "#scheduler/start.ts";
import type { Strategies } from "#scheduler/strategies.ts";
import type { SchedulerOptions } from "#scheduler/start-options.ts";
import type { Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import { hashSecret } from "#worker/secret.ts";
import { createBackups, refuseUnfinished } from "./server-backup.ts";
import { countLogs, countStore } from "./server-counts.ts";
import { checkFolders } from "./server-folders.ts";
import { showState } from "./server-gauges.ts";
import { type Ground, openApi, type ServerState } from "./server-api.ts";
import { openLogs } from "./server-logs.ts";
import { replicaOf } from "./server-replica.ts";
import { openRegistry } from "./server-records.ts";
import type { Registry } from "./server-registry.ts";
import { openStore } from "./server-store.ts";
import { openStrategies } from "./server-strategies.ts";
import { openTls, readNamed, refusePlainText, type ServerTls } from "./server-tls.ts";
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
  refusePlainText(config, address);
  const adminTokenHash = await readAdminToken(config);
  const metrics = createMetrics();
  const directory = await makeDirectory(config);
  const opening = { directory, metrics, log, onBroken };
  const { store, logs, backup } = await openStores(config, parts, opening);
  const tls = await openTls(config, address, { directory, log, store });
  parts.use(tls.keep(store));
  const registry = parts.use(await openRegistry({ config, store, env, directory, log, metrics }));
  const strategies = await openStrategies(config);
  const given = { store, logs, registry, strategies, metrics, log };
  const options = schedulerOptions(config, {
    ...given,
    tls,
    dial: () => dialAddress(config, state, address),
    reach: () => state.address ?? hostPort(address.host, address.port),
  });
  const scheduler = parts.use(await startScheduler(options));
  registry.attach(scheduler);
  const ground = {
    ...given,
    config,
    state,
    scheduler,
    address,
    tls: tls.files,
    adminTokenHash,
    backup,
  };
  const isReady = (): boolean => state.phase === "ready" && !state.isBroken;
  showState({ ...ground, directory, isReady });
  const httpAddress = await openHttp(ground, parts);
  const { api, standard } = await openApi(ground);
  parts.use(api);
  state.agentAddress = api.agentAddress;
  state.address = api.address;
  parts.defer(async () => {
    state.phase = "stopping";
    standard.setServing(false);
    await scheduler[Symbol.asyncDispose]();
  });
  state.phase = "ready";
  standard.setServing(true);
  const { caFile } = tls;
  log.info({ address: api.address, httpAddress, directory, caFile }, "server ready");
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

async function makeDirectory(config: Config): Promise<string> {
  const directory = resolve(config.dataDirectory);
  await mkdir(directory, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    const text = `HODEI_DATA_DIRECTORY: cannot make the folder ${directory}`;
    throw new HodeiError("invalid_argument", text, { cause });
  });
  await checkFolders(directory);
  await refuseUnfinished(directory);
  return directory;
}

function schedulerOptions(
  config: Config,
  given: {
    readonly store: Store;
    readonly logs: LogStore;
    readonly registry: Registry;
    readonly strategies: Strategies;
    readonly metrics: Metrics;
    readonly log: Logger;
    readonly tls: ServerTls;
    readonly dial: () => string;
    readonly reach: () => string;
  },
): SchedulerOptions {
  const { store, logs, registry, strategies, metrics, log, tls, dial, reach } = given;
  return {
    store,
    logStore: logs,
    providers: registry.providers,
    settings: registry.settings,
    onProviderEvent: (change) => registry.note(change),
    onProviderChange: () => registry.look(),
    replica: replicaOf(config, reach),
    strategies,
    readSpec: decodeSpec,
    serverAddress: dial,
    ...(tls.ca === undefined ? {} : { serverCa: tls.ca }),
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
): Promise<{
  readonly store: Store;
  readonly logs: LogStore;
  readonly backup: WriteBackup | undefined;
}> {
  const store = countStore(await openStore(config, { directory, log, onBroken }, parts), metrics);
  const { logs, files } = await openLogs(config, { directory, log, onBroken }, parts);
  // What stands in Redis is backed up there.
  const isHere = config.store === "embedded" && files !== undefined;
  const backup = isHere ? createBackups({ directory, logs: files }) : undefined;
  return { store, logs: countLogs(logs, metrics), backup };
}

async function readAdminToken(config: Config): Promise<Uint8Array | undefined> {
  const { adminToken, adminTokenFile } = config;
  if (adminTokenFile === "") return adminToken === "" ? undefined : hashSecret(adminToken);
  const token = (await readNamed("HODEI_ADMIN_TOKEN_FILE", adminTokenFile)).trim();
  if (token.length >= 16) return hashSecret(token);
  throw new HodeiError("invalid_argument", "HODEI_ADMIN_TOKEN_FILE: holds less than 16 characters");
}

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
