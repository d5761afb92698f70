// The `hodei` command: the one place that sees the environment, the signals and the standard streams.
import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { enableCompileCache } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type {
  Diagnosis,
  Host,
  LocalServer,
  Manifests,
  ManifestWish,
  Restored,
  StoreCopy,
} from "#cli/host.ts";

enableCompileCache();
// Deprecations inside of libraries are nothing that a user could act on.
process.noDeprecation = true;

const interrupts = new Set<() => void>();
const endings = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const closedPipe = 128 + 13;

process.stdout.on("error", onClosedPipe);
process.stderr.on("error", onClosedPipe);

const { runCli } = await import("#cli/cli.ts");
const code = await runCli({
  argv: process.argv.slice(2),
  env: process.env,
  version: readVersion(),
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  onInterrupt,
  startLocalServer,
  serve,
  runAgent,
  readManifests,
  diagnose,
  restore,
  copyStore,
} satisfies Host);
process.exit(code);

function readVersion(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  const { version } = JSON.parse(text) as { version: string };
  return version;
}

function onInterrupt(listener: () => void): Disposable {
  interrupts.add(listener);
  for (const signal of endings) process.on(signal, listener);
  return {
    [Symbol.dispose]() {
      interrupts.delete(listener);
      for (const signal of endings) process.off(signal, listener);
    },
  };
}

/** Whoever reads our output has gone: the work for it is over. */
function onClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
  if (interrupts.size === 0) process.exit(closedPipe);
  for (const listener of interrupts) listener();
}

/** `hodei server`: until a signal; one that comes before it is ready ends it at once, and so does a second one. */
async function serve(): Promise<number> {
  const stopped = Promise.withResolvers<undefined>();
  let hasSignal = false;
  for (const [signal, number] of [["SIGINT", 2] as const, ["SIGTERM", 15] as const]) {
    process.on(signal, () => {
      if (hasSignal) process.exit(128 + number);
      hasSignal = true;
      stopped.resolve(undefined);
    });
  }
  const [{ parseConfig }, { HodeiError }, { createLogger }] = await Promise.all([
    import("#config.ts"),
    import("#error.ts"),
    import("#telemetry.ts"),
  ]);
  const complain = (error: unknown, exit: number): number => {
    if (!(error instanceof HodeiError)) throw error;
    for (const line of error.message.split("\n")) process.stderr.write(`hodei: ${line}\n`);
    if (error.hint !== undefined) process.stderr.write(`hodei: ${error.hint}\n`);
    return exit;
  };

  let parsed: ReturnType<typeof parseConfig>;
  try {
    parsed = parseConfig(process.env, await readConfigFile());
  } catch (error) {
    return complain(error, 64);
  }
  const log = createLogger(parsed.config.logLevel);
  process.on("uncaughtException", (error) => {
    log.fatal({ err: error }, "uncaught exception");
    process.exit(1);
  });
  for (const warning of parsed.warnings) log.warn({ warning }, "setting ignored");
  try {
    const { startServer } = await import("#server.ts");
    const starting = startServer(parsed.config, log, { env: inheritedByWorkers() });
    // It has promised nothing yet, and may wait for a cluster that does not answer.
    if ((await Promise.race([starting, stopped.promise])) === undefined) {
      starting.catch(() => undefined);
      log.info("stopping before it is ready");
      log.flush();
      return 0;
    }
    await using server = await starting;
    const error = await Promise.race([stopped.promise, server.broken]);
    if (error !== undefined) {
      log.fatal({ err: error }, "what is on the disk is unknown: ending, to be started again");
      process.exit(1);
    }
    log.info("stopping");
  } catch (error) {
    return complain(error, 1);
  }
  return 0;
}

/** What the jobs of local workers can rely on; nothing else of this process's environment reaches them. */
function inheritedByWorkers(): Record<string, string> {
  const names = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"];
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value] as const];
    }),
  );
}

async function readConfigFile(): Promise<string | undefined> {
  const path = process.env["HODEI_CONFIG_FILE"];
  if (path === undefined || path === "") return undefined;
  const { HodeiError } = await import("#error.ts");
  return readFile(path, "utf8").catch((cause: unknown) => {
    const text = `HODEI_CONFIG_FILE: cannot read ${path}`;
    throw new HodeiError("invalid_argument", text, { cause });
  });
}

/** A control plane in a temporary directory, for the duration of one command; its workers end with it. */
async function startLocalServer(): Promise<LocalServer> {
  const [{ parseConfig }, { createLogger }, { startServer }, { pino }] = await Promise.all([
    import("#config.ts"),
    import("#telemetry.ts"),
    import("#server.ts"),
    import("pino"),
  ]);
  await using parts = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "hodei-"));
  const logPath = join(directory, "server.log");
  let isKept = false;
  parts.defer(async () => {
    if (!isKept) await rm(directory, { recursive: true, force: true, maxRetries: 3 });
  });
  const { config } = parseConfig({
    HODEI_LISTEN_ADDRESS: "127.0.0.1:0",
    HODEI_HTTP_ADDRESS: "",
    HODEI_DATA_DIRECTORY: join(directory, "data"),
    HODEI_LOG_LEVEL: "warn",
    // Should this process be killed, its workers end soon.
    HODEI_DISCONNECT_TOLERANCE_MS: "10000",
    HODEI_DRAIN_TIMEOUT_MS: "1000",
  });
  const log = createLogger(config.logLevel, pino.destination({ dest: logPath, sync: true }));
  const server = parts.use(await startServer(config, log, { env: inheritedByWorkers() }));
  parts.defer(() => endWorkers(server.address));
  const open = parts.move();
  return {
    address: server.address,
    keepLog() {
      isKept = true;
      return logPath;
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

/** Workers outlive a server on purpose; those of a local one have nobody to come back to. */
async function endWorkers(address: string): Promise<void> {
  const { HodeiClient } = await import("#client/client.ts");
  const { setTimeout: wait } = await import("node:timers/promises");
  await using client = new HodeiClient({ address });
  const deadline = Date.now() + 10_000;
  for (;;) {
    let isOver = true;
    for await (const worker of client.workers.list()) {
      isOver = false;
      if (worker.state !== "stopping")
        await client.workers.terminate(worker.id, { reason: "the local run is over" });
    }
    if (isOver || Date.now() > deadline) return;
    await wait(50);
  }
}

async function runAgent(): Promise<number> {
  const { agentMain } = await import("#agent/main.ts");
  return await agentMain(process.env);
}

async function readManifests(wish: ManifestWish): Promise<Manifests> {
  const { manifestsOf } = await import("./server-manifests.ts");
  return manifestsOf(process.env, wish);
}

async function diagnose(): Promise<Diagnosis> {
  const { diagnoseServer } = await import("./server-doctor.ts");
  return await diagnoseServer({ env: process.env, readFile: readConfigFile });
}

async function restore(from: string): Promise<Restored> {
  const [{ parseConfig }, { restoreBackup }] = await Promise.all([
    import("#config.ts"),
    import("./server-backup.ts"),
  ]);
  const { config } = parseConfig(process.env, await readConfigFile());
  const directory = resolve(config.dataDirectory);
  const { files, createdAt } = await restoreBackup(from, directory);
  return { directory, files: files.length, createdAt };
}

async function copyStore(places: StoreCopy): Promise<Readonly<Record<string, number>>> {
  const { copyStores } = await import("./server-copy.ts");
  return { ...(await copyStores(places)) };
}
