import { z } from "zod";
import { HodeiError } from "#error.ts";
import {
  addresses,
  choice,
  deepFreeze,
  type DeepReadonly,
  describe,
  flag,
  json,
  maybe,
  text,
  variableName,
  warmPool,
  whole,
} from "./setting.ts";
import { isTenantName } from "#tenant/identity.ts";
import type { LogLevel } from "#telemetry.ts";
import { archiveProblems, archiveShape } from "./config-archive.ts";
import { providersShape } from "./config-providers.ts";
import { dockerShape } from "./config-docker.ts";
import { logsShape } from "./config-logs.ts";
import { redisShape } from "./config-redis.ts";
import { tlsShape } from "./config-tls.ts";
import { isKubernetesEnabled, kubernetesShape, kubernetesWarnings } from "./config-kubernetes.ts";
import { timesShape } from "./config-times.ts";

// Every setting is here once: its name (in the environment `HODEI_` and the name in capitals, in a file as it stands), its default, its bounds, its meaning.
// The last word of a name is its unit.

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

const shape = {
  listenAddress: text(
    "127.0.0.1:50051",
    "Where clients and agents connect, `host:port`; port 0 takes a free one",
  ),
  agentPort: whole(
    { least: 0, most: 65_535, standard: 0 },
    "Port of a listener for agents alone; 0: agents use the one of the clients",
  ),
  httpAddress: text("127.0.0.1:8080", "Where metrics and health answer over HTTP; empty: nowhere"),
  serverAddress: addresses(
    "What agents dial: `host:port`, of several replicas between commas; empty: the address that was bound",
  ),
  dataDirectory: text("./hodei-data", "Where jobs and logs are kept"),
  logLevel: choice(
    {
      values: ["trace", "debug", "info", "warn", "error", "fatal", "silent"] satisfies LogLevel[],
      standard: "info",
    },
    "Least level of the server's own log",
  ),
  reflectionEnabled: flag(true, "Whether gRPC reflection answers"),

  ...tlsShape,
  adminToken: text("", "Bearer token of the first admin, at least 16 characters"),
  adminTokenFile: text("", "File with the bearer token of the first admin"),

  maxConnections: whole(
    { least: 1, most: 1_000_000, standard: 10_000 },
    "Most connections per listener",
  ),
  maxStreamsPerConnection: whole(
    { least: 1, most: 100_000, standard: 100 },
    "Most concurrent calls on one connection",
  ),
  maxWatches: whole(
    { least: 1, most: 1_000_000, standard: 10_000 },
    "Most follows of logs and jobs at the same time",
  ),
  drainTimeoutMs: whole(
    { least: 0, most: hour, standard: 10 * second },
    "How long calls may go on when the server stops",
  ),

  ...timesShape,

  jobTtlMs: whole(
    { least: minute, most: 3_650 * day, standard: 30 * day },
    "How long a job is kept after its end",
  ),
  idempotencyTtlMs: whole(
    { least: minute, most: 365 * day, standard: day },
    "How long an idempotency key is kept",
  ),
  auditTtlMs: whole(
    { least: minute, most: 3_650 * day, standard: 90 * day },
    "How long an audit entry is kept",
  ),
  logTtlMs: whole(
    { least: second, most: 3_650 * day, standard: 7 * day },
    "How long a log is kept after the end of its attempt, unless the job says otherwise",
  ),
  ...logsShape,
  logBatchBytes: whole(
    { least: 1_024, most: 128 * 1024, standard: 64 * 1024 },
    "Size at which an agent sends its log batch",
  ),
  logBatchDelayMs: whole(
    { least: 1, most: minute, standard: 25 },
    "Age at which an agent sends its log batch",
  ),

  tenantWeights: json(
    z.record(tenant(), z.number().positive().max(1_000)),
    {},
    'Shares of tenants in the queue, 1 unless named: `{"ci": 3}`',
  ),
  maxQueuedJobsPerTenant: whole(
    { least: 1, most: 100_000_000, standard: 1_000_000 },
    "Most queued jobs of one tenant",
  ),

  processEnabled: maybe(
    "Whether workers may be processes on this machine; empty: where there is no other provider",
  ),
  processMaxWorkers: whole(
    { least: 1, most: 10_000, standard: 16 },
    "Most worker processes at the same time",
  ),
  processDirectory: text(
    "",
    "Where worker processes have their files; several servers on one machine that share a store share it too; empty: in the data directory",
  ),
  processControlGroups: choice(
    { values: ["auto", "own", "off"], standard: "auto" },
    "Below which control groups worker processes get theirs: `auto`: the root of what the server sees; `own`: also the server's own one, given to it (systemd: `Delegate=yes`)",
  ),
  workerSlots: whole(
    { least: 1, most: 1_000, standard: 1 },
    "Jobs that one worker runs at the same time",
  ),
  workerMaxJobs: whole(
    { least: 0, most: 1_000_000, standard: 1 },
    "Jobs that one worker runs in its life; 0: no limit",
  ),
  workerIdleTimeoutMs: whole(
    { least: 100, most: 7 * day, standard: minute },
    "How long a reusable worker may be idle",
  ),
  workerSameTenant: flag(true, "Whether a reused worker stays with its first tenant"),
  warmPool: json(
    warmPool,
    [],
    'Idle workers kept ready: `[{"count": 2}]`, with `image`, `cpuMillis`, `memoryBytes`, … of their jobs, `tenant` whose they are, `provider` where they are, and `strict` if they are for jobs that insist on it',
  ),

  strategy: text(
    "first_available",
    "How a provider is chosen: `first_available`, `lowest_cost`, `fastest_startup`, `most_capacity`, `healthiest`, `by_labels`, `round_robin`, `balanced`, `cost_optimized`, `performance`, `health_critical`, or one of your own",
  ),
  tenantStrategies: json(
    z.record(tenant(), z.string().min(1)),
    {},
    'Strategies of tenants: `{"ci": "fastest_startup"}`',
  ),
  strategyWeights: json(
    z.record(z.string().regex(/^[a-z][a-z0-9_]{0,62}$/), weights()),
    {},
    'Weighted strategies of your own: `{"mine": {"health": 0.4, "cost": 0.6, "startup": 0, "capacity": 0}}`',
  ),
  strategyModules: json(
    z.record(z.string().regex(/^[a-z][a-z0-9_]{0,62}$/), z.string().min(1)),
    {},
    'Strategies in modules of your own, whose default export is a `Strategy`: `{"mine": "/etc/hodei/mine.js"}`',
  ),

  ...archiveShape,
  ...providersShape,
  ...redisShape,
  ...dockerShape,
  ...kubernetesShape,
};

const schema = z.strictObject(shape).superRefine((config, context) => {
  const refuse = (path: keyof typeof shape, message: string): void => {
    context.addIssue({ code: "custom", path: [path], message });
  };
  if ((config.tlsCertFile === "") !== (config.tlsKeyFile === "")) {
    refuse(
      config.tlsCertFile === "" ? "tlsCertFile" : "tlsKeyFile",
      "certificate and key belong together",
    );
  }
  if (config.tlsClientCaFile !== "" && config.tlsCertFile === "" && !config.tlsAuto) {
    refuse("tlsClientCaFile", "needs a certificate of the server");
  }
  if (config.adminToken !== "" && config.adminToken.length < 16) {
    refuse("adminToken", "has to have at least 16 characters");
  }
  if (!/^[\x21-\x7e]*$/.test(config.adminToken)) {
    // Nobody could send it in a header.
    refuse("adminToken", "has to be of visible ASCII characters, without spaces");
  }
  if (config.adminToken !== "" && config.adminTokenFile !== "") {
    refuse("adminTokenFile", "cannot be given together with the token itself");
  }
  if (config.jobTtlMs < config.idempotencyTtlMs) {
    // The key of a job that is deleted would make a second one.
    refuse("jobTtlMs", "has to be at least HODEI_IDEMPOTENCY_TTL_MS");
  }
  const isBound = isKubernetesEnabled(config) && config.k8sEnableDynamicNamespaces;
  for (const [at, { tenant, provider }] of config.warmPool.entries()) {
    if (tenant !== "" && !isTenantName(tenant)) {
      refuse("warmPool", `${tenant} is not the name of a tenant at ${at}`);
    }
    if (isBound && tenant === "" && ["", "kubernetes"].includes(provider)) {
      refuse("warmPool", `needs a tenant, as tenants have namespaces of their own, at ${at}`);
    }
  }
  for (const [path, message] of archiveProblems(config)) refuse(path, message);
  if (config.suspectAfterMs < 2 * config.renewIntervalMs) {
    refuse("suspectAfterMs", "has to be at least twice the interval of renewals");
  }
});

export type Config = DeepReadonly<z.output<typeof schema>>;

/** Older or common names. */
const aliases: Readonly<Record<string, (value: string) => readonly [keyof typeof shape, string]>> =
  {
    DOCKER_CERT_PATH: (path) => ["dockerCertDirectory", path],
    DOCKER_HOST: (host) => ["dockerHost", host],
    GRPC_PORT: (port) => ["listenAddress", `127.0.0.1:${port}`],
    HODEI_GRPC_PORT: (port) => ["listenAddress", `127.0.0.1:${port}`],
    KUBECONFIG: (files) => ["k8sKubeconfigFallback", files],
    SERVER_LOG_TTL_HOURS: (hours) => ["logTtlMs", String(Number(hours) * hour)],
  };

/** Variables of the agent, the command line and the tests, which are no settings of the server. */
const others =
  /^HODEI_(WORKER_ID|OTP_(FILE|TOKEN|FD)|ATTESTATION_FILE|CA_CERT(_PATH)?|CLIENT_(CERT|KEY)_PATH|SERVER|TOKEN|TOKEN_FILE|CONFIG_FILE|OUTPUT|TEST\w*|K8S_TEST|SPOOL\w*|AGENT_\w*|CI_\w*)$/;

export interface ParsedConfig {
  readonly config: Config;
  /** One line each about what was given and not understood. */
  readonly warnings: readonly string[];
}

/**
 * The settings from a JSON file and the environment, which wins. Error: `invalid_argument` with one line for each wrong variable, by name.
 */
export function parseConfig(
  env: Readonly<Record<string, string | undefined>>,
  fileText?: string,
): ParsedConfig {
  const given: Record<string, unknown> = fileText === undefined ? {} : readFile(fileText);
  const warnings: string[] = [];
  const names = new Map(Object.keys(shape).map((key) => [variableName(key), key]));
  for (const [variable, alias] of Object.entries(aliases)) {
    const value = env[variable];
    if (value === undefined || value === "") continue;
    const [key, text] = alias(value);
    given[key] = text;
  }
  for (const [variable, value] of Object.entries(env)) {
    if (value === undefined || !variable.startsWith("HODEI_") || variable in aliases) continue;
    const key = names.get(variable);
    if (key !== undefined) given[key] = value;
    else if (!others.test(variable)) warnings.push(`${variable} is not a setting of this version`);
  }
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    throw new HodeiError("invalid_argument", parsed.error.issues.map(describe).join("\n"));
  }
  warnings.push(...kubernetesWarnings(parsed.data));
  return { config: deepFreeze(parsed.data), warnings };
}

/** Every setting, for the README. */
export function configTable(): {
  readonly name: string;
  readonly default: string;
  readonly unit: string;
  readonly description: string;
}[] {
  const defaults: Readonly<Record<string, unknown>> = schema.parse({});
  return Object.entries(shape).map(([key, field]) => ({
    name: variableName(key),
    default: show(defaults[key]),
    unit: /(?:Ms|Bytes)$/.exec(key)?.[0].toLowerCase() ?? "",
    description: field.description ?? "",
  }));
}

function show(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function readFile(fileText: string): Record<string, unknown> {
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(fileText));
  } catch (cause) {
    throw new HodeiError("invalid_argument", "HODEI_CONFIG_FILE: not a JSON object", { cause });
  }
}

/** Shares that add up to one. */
function weights() {
  const share = z.number().min(0).max(1);
  return z
    .strictObject({ health: share, cost: share, startup: share, capacity: share })
    .refine(
      ({ health, cost, startup, capacity }) =>
        Math.abs(health + cost + startup + capacity - 1) <= 0.001,
      "has to add up to 1",
    );
}

function tenant() {
  return z.string().refine(isTenantName, "is not the name of a tenant");
}
