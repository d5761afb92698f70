import type { ServiceDefinition } from "@grpc/grpc-js";
import { HodeiError } from "#error.ts";
import { every } from "#every.ts";
import type { Job } from "#job/job.ts";
import type { LogStore } from "#logstore/logstore.ts";
import { Edge } from "#rpc/edge.ts";
import { AdminServiceService } from "#rpc/gen/hodei/v1/admin_service.ts";
import { AgentServiceService } from "#rpc/gen/hodei/v1/agent_service.ts";
import { AuditServiceService } from "#rpc/gen/hodei/v1/audit_service.ts";
import { JobServiceService } from "#rpc/gen/hodei/v1/job_service.ts";
import { LogStreamServiceService } from "#rpc/gen/hodei/v1/log_service.ts";
import { ProviderServiceService } from "#rpc/gen/hodei/v1/provider_service.ts";
import { TokenServiceService } from "#rpc/gen/hodei/v1/token_service.ts";
import { WorkerServiceService } from "#rpc/gen/hodei/v1/worker_service.ts";
import { messageLimits } from "#rpc/limits.ts";
import {
  type BindAddress,
  listen,
  type Listener,
  type ServedService,
  type TlsFiles,
} from "#rpc/listen.ts";
import { decodeLogsRequest } from "#rpc/log-request.ts";
import { createLogResponseEncoder } from "#rpc/log-response.ts";
import { type Handlers, safeHandlers } from "#rpc/serve.ts";
import type { SpecDefaults } from "#rpc/spec.ts";
import type { Scheduler } from "#scheduler/scheduler.ts";
import type { Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import { adminService, type WriteBackup } from "./admin-service.ts";
import type { Audit } from "./audit.ts";
import { auditService } from "./audit-service.ts";
import { type Authenticator, cacheLimits, type Caller } from "./authenticate.ts";
import { jobService } from "./job-service.ts";
import { createGate } from "./gate.ts";
import { logService } from "./log-service.ts";
import type { ProviderRegistry } from "./provider-registry.ts";
import { providerService } from "./provider-service.ts";
import type { StandardServices } from "./standard-services.ts";
import { statusName, toStatus } from "./status.ts";
import { tokenService } from "./token-service.ts";
import { workerService } from "./worker-service.ts";

export interface ApiOptions {
  readonly store: Store;
  readonly logs: LogStore;
  readonly scheduler: Scheduler;
  readonly registry: ProviderRegistry;
  readonly audit: Audit;
  readonly authenticator: Authenticator;
  readonly standard: StandardServices;
  /** The agents' side. */
  readonly agents: Handlers<typeof AgentServiceService, Caller>;
  readonly log: Logger;
  readonly now: () => number;
  readonly defaults: SpecDefaults;
  readonly logTtlMs: (job: Job) => number;
  readonly idempotencyTtlMs: number;
  readonly maxQueuedJobsPerTenant: number;
  readonly strategyNames: readonly string[];
  readonly maxWatches: number;
  /** Undefined where the state is not on this machine. */
  readonly backup?: WriteBackup | undefined;
  /** Throws while no new jobs are taken. */
  readonly checkOpen: () => void;
  readonly onSubmitted: (count: number) => void;
  readonly onCallBegin: (method: string) => void;
  readonly onCallEnd: (method: string, status: string, seconds: number) => void;

  readonly address: BindAddress;
  /** Where agents connect when that is not where clients do. */
  readonly agentAddress: BindAddress | undefined;
  readonly tls: TlsFiles | undefined;
  readonly maxConnections: number;
  readonly maxStreamsPerConnection: number;
  readonly drainMs: number;
}

export interface Api extends AsyncDisposable {
  readonly address: string;
  readonly agentAddress: string;
}

/** Serves clients and agents, on one listener or two. */
export async function serveApi(options: ApiOptions): Promise<Api> {
  await using parts = new AsyncDisposableStack(); // Undoes a start that fails halfway.
  const { agentAddress } = options;
  const edge = createEdge(options, options.address);
  const onError = (err: unknown): void => options.log.error({ err }, "cannot end streams");
  parts.use(every({ intervalMs: 500, onError }, async () => options.authenticator.endExpired()));
  if (options.store.replicas !== undefined) parts.use(followTokens(options));
  const common = {
    tls: options.tls,
    maxConnections: options.maxConnections,
    drainMs: options.drainMs,
  };
  const clients = clientServices(options, edge);
  const agentsOn = (on: Edge<Caller>): ServedService => ({
    // Batches are taken as they came.
    service: {
      ...AgentServiceService,
      logs: { ...AgentServiceService.logs, requestDeserialize: decodeLogsRequest },
    },
    handlers: safeHandlers(on, AgentServiceService, options.agents),
    maxMessageBytes: messageLimits.agentBytes,
  });
  const front: Listener = parts.use(
    await listen({
      ...common,
      address: options.address,
      edge,
      services: agentAddress === undefined ? [...clients, agentsOn(edge)] : clients,
      extend: (server) => options.standard.addTo(server),
      maxStreamsPerConnection: options.maxStreamsPerConnection,
    }),
  );
  const listenForAgents = async (address: BindAddress): Promise<Listener> => {
    const agentEdge = createEdge(options, address);
    const services = [agentsOn(agentEdge)];
    const { maxStreamsPerConnection } = options;
    return listen({ ...common, address, edge: agentEdge, services, maxStreamsPerConnection });
  };
  const back = agentAddress === undefined ? front : parts.use(await listenForAgents(agentAddress));
  const owned = parts.move();
  return {
    address: front.address,
    agentAddress: back.address,
    [Symbol.asyncDispose]: async () => owned.disposeAsync(),
  };
}

/** What other servers on the store did to tokens counts here as soon as it does for what is remembered of them. */
function followTokens({ authenticator, log }: ApiOptions): AsyncDisposable {
  const onError = (err: unknown): void => log.warn({ err }, "cannot look at tokens again");
  return every({ intervalMs: cacheLimits.ttlMs, onError }, () => authenticator.followOthers());
}

function createEdge(options: ApiOptions, address: BindAddress): Edge<Caller> {
  return new Edge<Caller>({
    log: options.log,
    admit: (incoming) => options.authenticator.admit(incoming, address),
    toStatus,
    onStream: (caller, end) => {
      const revoked = new HodeiError("unauthenticated", "the token is not good any more");
      return options.authenticator.watch(caller, () => end(revoked));
    },
    onRefusedMessage: (caller, incoming, code) =>
      options.authenticator.noteRefused(caller, incoming, statusName(code)),
    onBegin: options.onCallBegin,
    onEnd: (method, code, seconds) => options.onCallEnd(method, statusName(code), seconds),
  });
}

function clientServices(options: ApiOptions, edge: Edge<Caller>): ServedService[] {
  const serve = <Service extends ServiceDefinition>(
    service: Service,
    handlers: Handlers<Service, Caller>,
  ): ServedService => ({
    service,
    handlers: safeHandlers(edge, service, handlers),
    maxMessageBytes: messageLimits.clientBytes,
  });
  const follows = createGate(options.maxWatches, "follows and watches");
  // Stored batches go out as they are.
  const logStream = {
    ...LogStreamServiceService,
    streamLogs: {
      ...LogStreamServiceService.streamLogs,
      responseSerialize: createLogResponseEncoder(),
    },
  };
  return [
    serve(JobServiceService, jobService({ ...options, watches: follows })),
    serve(logStream, logService({ ...options, follows })),
    serve(WorkerServiceService, workerService(options)),
    serve(ProviderServiceService, providerService(options)),
    serve(TokenServiceService, tokenService(options)),
    serve(AuditServiceService, auditService(options)),
    serve(AdminServiceService, adminService(options)),
  ];
}
