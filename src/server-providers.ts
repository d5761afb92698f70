import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Credentials } from "#api/provider-registry.ts";
import type { Config } from "#config.ts";
import { HodeiError, invalid } from "#error.ts";
import type { Metrics } from "#metrics.ts";
import { openProcessProvider } from "#provider/process/process-provider.ts";
import type { Provider } from "#provider/provider.ts";
import type { Logger } from "#telemetry.ts";
import type { ProviderType } from "#worker/provider-record.ts";
import { isKubernetesEnabled } from "./config-kubernetes.ts";
import { openDocker } from "./server-docker.ts";
import { kubernetesConfigOf } from "./server-kubernetes.ts";
import { readPods } from "./server-gauges.ts";
import { mostWorkers } from "./server-provider-config.ts";

export interface ProvidersGround {
  readonly directory: string;
  /** Tells this server's workers from those of others on the same cluster or engine. */
  readonly instance: () => Promise<string>;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Variables of this process that workers on this machine get. */
  readonly env: Readonly<Record<string, string>>;
}

/** What is to be opened. */
export interface ProviderWish {
  readonly name: string;
  readonly type: ProviderType;
  /** Its id, which keeps its workers apart from those of others of its type; undefined for the one of the server's own settings. */
  readonly id: string | undefined;
  /** The server's settings with its own in their place. */
  readonly config: Config;
  readonly credentials: Credentials | undefined;
}

/** The types that the server's settings switch on, in their order. */
export function environmentTypes(config: Config, hasOthers: boolean): readonly ProviderType[] {
  const types: ProviderType[] = [];
  if (isKubernetesEnabled(config)) types.push("kubernetes");
  if (config.dockerEnabled) types.push("docker");
  const { processEnabled } = config;
  const isAlone = types.length === 0 && !hasOthers;
  if (processEnabled === "" ? isAlone : processEnabled) types.push("process");
  return types;
}

/** Most workers of a provider of whom the operator has not said otherwise; undefined: as many as there is room for. */
export function standardWorkers(type: ProviderType, config: Config): number | undefined {
  switch (type) {
    case "kubernetes":
      return config.k8sMaxWorkers;
    case "docker":
      return config.dockerMaxWorkers === 0 ? undefined : config.dockerMaxWorkers;
    case "process":
      return config.processMaxWorkers;
  }
}

/** How many workers there may be is its record's to say, and changes while it is open. Error: `invalid_argument`. */
export async function openProvider(wish: ProviderWish, ground: ProvidersGround): Promise<Provider> {
  switch (wish.type) {
    case "kubernetes":
      return openKubernetes(wish, ground);
    case "docker": {
      const { name, credentials, config } = wish;
      const { log } = ground;
      const instance = await ground.instance();
      const { dockerCa: ca = "", dockerCert: cert = "", dockerKey: key = "" } = credentials ?? {};
      const given = Object.entries({ ca, cert, key }).filter(([, text]) => text !== "");
      const certificates = given.length === 0 ? undefined : Object.fromEntries(given);
      const dockerMaxWorkers = config.dockerMaxWorkers === 0 ? 0 : mostWorkers;
      return openDocker({ ...config, dockerMaxWorkers }, { name, instance, log, certificates });
    }
    case "process":
      return openProcesses(wish, ground);
  }
}

/** What only a cluster needs is only loaded where there is one. */
async function openKubernetes(wish: ProviderWish, ground: ProvidersGround): Promise<Provider> {
  const { openKubernetesProvider } = await import("#provider/kubernetes/kubernetes-provider.ts");
  const { log, metrics } = ground;
  const { name, id, credentials } = wish;
  const own = wish.config.k8sInstanceId || (await ground.instance());
  const instance = id === undefined ? own : `${own.slice(0, 40)}-${id}`;
  const config = { ...wish.config, k8sInstanceId: instance, k8sMaxWorkers: mostWorkers };
  const kubernetes = {
    ...plainError(id, () => kubernetesConfigOf(config, { instance })),
    ...(credentials !== undefined && { kubeconfigText: credentials.kubeconfig }),
  };
  return openKubernetesProvider({
    name,
    config: kubernetes,
    instanceId: kubernetes.instance,
    log,
    env: { HODEI_LOG_LEVEL: config.logLevel },
    onStartPhase: (phase, ms) => metrics.startPhaseEnded(name, phase, ms / 1_000),
    onCall: (call) => metrics.clusterCalled(name, call),
    onPodGone: () => metrics.podGone(name),
    onOpen: (tally) => metrics.observe(async () => readPods(name, tally())),
  });
}

/** The variable that a record's setting has in the environment would lead whoever reads it astray. */
function plainError<Value>(id: string | undefined, build: () => Value): Value {
  try {
    return build();
  } catch (error) {
    if (id === undefined || !(error instanceof HodeiError)) throw error;
    const { cause } = error;
    throw invalid("config", cause instanceof Error ? cause.message : error.message);
  }
}

/** Made once, with the data. */
export async function instanceOf(directory: string): Promise<string> {
  const file = join(directory, "instance");
  try {
    const text = (await readFile(file, "utf8")).trim();
    if (/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text)) return text;
    throw new HodeiError("invalid_argument", `${file} does not hold the name of an instance`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const made = `hodei-${randomBytes(5).toString("hex")}`;
  await writeFile(file, `${made}\n`, { flag: "wx" });
  return made;
}

async function openProcesses(
  { name, id, config }: ProviderWish,
  { directory, log, env }: ProvidersGround,
): Promise<Provider> {
  // From source the agent is a file of ours, from a package a bundle of its own.
  const isSource = import.meta.url.endsWith(".ts");
  const agent = new URL(isSource ? "./agent/main.ts" : "./agent.js", import.meta.url);
  return openProcessProvider({
    name,
    directory: processDirectory(config, directory),
    instanceId: id ?? "server",
    maxWorkers: mostWorkers,
    controlGroups: config.processControlGroups,
    // A small young generation keeps the agent small, and forking it cheap.
    agentCommand: [process.execPath, "--max-semi-space-size=1", fileURLToPath(agent)],
    env: { PATH: plainPath, HODEI_LOG_LEVEL: config.logLevel, ...env },
    log,
  });
}

/** Where worker processes have their files. */
export function processDirectory(
  { processDirectory: given }: Pick<Config, "processDirectory">,
  dataDirectory: string,
): string {
  return given === "" ? join(dataDirectory, "processes") : resolve(given);
}

const plainPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
