import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { agentService } from "#api/agent-service.ts";
import { AgentAuth } from "#api/agent-service-auth.ts";
import { createAudit } from "#api/audit.ts";
import { type Caller, createAuthenticator } from "#api/authenticate.ts";
import { type Api, serveApi } from "#api/serve-api.ts";
import { createRefusals } from "#api/refusals.ts";
import { createStandardServices, type StandardServices } from "#api/standard-services.ts";
import type { WriteBackup } from "#api/admin-service.ts";
import type { Config } from "#config.ts";
import { HodeiError } from "#error.ts";
import type { Job } from "#job/job.ts";
import type { LogStore } from "#logstore/logstore.ts";
import type { Metrics } from "#metrics.ts";
import type { BindAddress, TlsFiles } from "#rpc/listen.ts";
import { decodeSpec } from "#rpc/spec.ts";
import type { Scheduler } from "#scheduler/scheduler.ts";
import type { Strategies } from "#scheduler/strategies.ts";
import type { Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import { agentHooks } from "./server-agents.ts";
import type { Registry } from "./server-registry.ts";
import { jobDefaults } from "./server-settings.ts";

/** Where a server is in its life. */
export interface ServerState {
  phase: "starting" | "ready" | "stopping";
  isBroken: boolean;
  agentAddress?: string;
  address?: string;
}

/** What the edge of a server stands on. */
export interface Ground {
  readonly config: Config;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly state: ServerState;
  readonly store: Store;
  readonly logs: LogStore;
  readonly scheduler: Scheduler;
  readonly registry: Registry;
  readonly strategies: Strategies;
  readonly address: BindAddress;
  readonly tls: TlsFiles | undefined;
  readonly adminTokenHash: Uint8Array | undefined;
  /** Undefined where the state is not on this machine. */
  readonly backup: WriteBackup | undefined;
}

/** Wires the services and opens their listeners. */
export async function openApi(
  ground: Ground,
): Promise<{ readonly api: Api; readonly standard: StandardServices }> {
  const { config, log, metrics, state, store, scheduler, address } = ground;
  const now = Date.now;
  const auth = new AgentAuth({
    store,
    log,
    auditTtlMs: config.auditTtlMs,
    now,
    onRefused: () => metrics.otpRefused(),
    ...agentHooks({ ...ground, providers: () => ground.registry.opened() }),
  });
  const audit = createAudit({ store, log, ttlMs: config.auditTtlMs, now });
  const authenticator = await createAuthenticator({
    store,
    adminTokenHash: ground.adminTokenHash,
    subjects: config.tlsClientCaFile === "" ? undefined : config.tlsClientSubjects,
    admitAgent: async (incoming) => auth.admit(incoming),
    now,
    onRefused: (kind) => metrics.credentialRefused(kind),
    onAccepted: (kind) => metrics.credentialAccepted(kind),
    onRefusedChange: createRefusals({ audit, log, now }),
  });
  const agents = agentService<Caller>({
    attempts: scheduler.attempts,
    store,
    auth,
    limits: {
      renewMs: config.renewIntervalMs,
      reconnectMaxMs: config.agentReconnectMaxMs,
      logBatchBytes: config.logBatchBytes,
      logBatchDelayMs: config.logBatchDelayMs,
      idleTimeoutMs: config.workerMaxJobs === 1 ? undefined : config.workerIdleTimeoutMs,
      logQuotaBytes: config.logQuotaBytes,
    },
    count: (what) => metrics.agentCounted(what),
  });
  const standard = createStandardServices({
    protoDirectory: config.reflectionEnabled ? protoDirectory() : undefined,
    protoFiles: services.map((name) => `hodei/v1/${name}_service.proto`),
    services: services.map(serviceName),
  });
  const agentAddress = config.agentPort === 0 ? undefined : { ...address, port: config.agentPort };
  const api = await serveApi({
    ...ground,
    ...config,
    store,
    audit,
    authenticator,
    standard,
    agents,
    now,
    defaults: jobDefaults(config),
    logTtlMs: (job: Job) => decodeSpec(job.spec).logTtlMs,
    checkOpen: () => {
      if (state.phase !== "stopping") return;
      throw new HodeiError("unavailable", "the server is stopping and takes no new jobs");
    },
    strategyNames: ground.strategies.names,
    onSubmitted: (count) => metrics.jobsSubmitted(count),
    onCallBegin: (method) => metrics.callBegan(method),
    onCallEnd: (method, status, seconds) => metrics.callEnded(method, status, seconds),
    agentAddress,
    drainMs: config.drainTimeoutMs,
  });
  return { api, standard };
}

const services = ["job", "log", "worker", "provider", "token", "audit", "admin", "agent"] as const;

function serviceName(name: (typeof services)[number]): string {
  if (name === "log") return "hodei.v1.LogStreamService";
  return `hodei.v1.${name.charAt(0).toUpperCase()}${name.slice(1)}Service`;
}

/** The contract stands beside `src` and beside `dist`. */
function protoDirectory(): string | undefined {
  const directory = fileURLToPath(new URL("../proto", import.meta.url));
  return existsSync(directory) ? directory : undefined;
}
