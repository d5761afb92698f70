import { type Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { createAudit } from "#api/audit.ts";
import { agentService } from "#api/agent-service.ts";
import { AgentAuth } from "#api/agent-service-auth.ts";
import { type Caller, createAuthenticator } from "#api/authenticate.ts";
import type { ProviderRegistry } from "#api/provider-registry.ts";
import { createRefusals } from "#api/refusals.ts";
import { serveApi } from "#api/serve-api.ts";
import { createStandardServices } from "#api/standard-services.ts";
import { HodeiError } from "#error.ts";
import type { JobId } from "#job/id.ts";
import { isFinal } from "#job/state.ts";
import { openFileLogStore } from "#logstore/files/open.ts";
import { channelOptions } from "#rpc/channel.ts";
import { resolveAddress } from "#rpc/listen.ts";
import { specDefaults } from "#rpc/spec.ts";
import { createJobWatch } from "#scheduler/job-watch.ts";
import type { Scheduler } from "#scheduler/scheduler.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import type { Store } from "#store/store.ts";
import { createLogger } from "#telemetry.ts";
import { hashSecret } from "#worker/secret.ts";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const adminToken = "an-admin-token-for-tests";

const unused = (): never => {
  throw new Error("not part of this test");
};

const idleAttempts: Scheduler["attempts"] = {
  connect: unused,
  isConnected: () => false,
  wake: () => undefined,
  lead: () => undefined,
  follow: () => undefined,
  signalCancel: () => undefined,
  signalDrain: () => undefined,
  fenceAttempt: () => undefined,
  loseWorker: unused,
  forgetWorker: () => undefined,
  appendLog: unused,
  listSilent: () => [],
  stats: () => ({ workers: 0, attempts: 0, heard: 0 }),
  [Symbol.asyncDispose]: async () => undefined,
};

const noProvider = async (): Promise<never> => {
  throw new HodeiError("not_found", "there is no provider");
};

const noProviders: ProviderRegistry = {
  list: async () => [],
  get: noProvider,
  register: noProvider,
  update: noProvider,
  enable: noProvider,
  remove: noProvider,
};

export interface HarnessOptions {
  readonly isOpen?: boolean;
  readonly maxWatches?: number;
  readonly store?: Store;
}

/** The whole edge over a memory store, real log files and a scheduler that decides nothing. */
export async function startHarness(options: HarnessOptions = {}) {
  const directory = mkdtempSync(join(tmpdir(), "hodei-api-"));
  const store = options.store ?? openMemoryStore();
  const logs = await openFileLogStore({ directory, quotaBytesPerAttempt: 1024 * 1024 });
  const lines: Record<string, unknown>[] = [];
  const log = createLogger("debug", {
    write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>),
  });
  const watch = createJobWatch({ store, pollMs: 20 });
  const woken: ReadonlySet<string>[] = [];
  const scheduler: Scheduler = {
    attempts: idleAttempts,
    isLeading: true,
    replicas: [],
    watch,
    jobsArrived: (keys) => void woken.push(keys),
    async cancelJob(id, { reason, actor }) {
      const now = Date.now();
      const end = { reason, actor, deadline: now + 1_000, expiresAt: now + 60_000 };
      const job = await store.cancelJob(id, end, now);
      watch.touch([id]);
      return job;
    },
    explainJob: async () => ({
      stage: "queued",
      summary: "waits",
      jobsAhead: 0,
      tenantShare: 1,
      providers: [],
    }),
    explainWish: async ({ tenant }) => ({
      stage: "selecting",
      summary: `a job of ${tenant}`,
      jobsAhead: 0,
      tenantShare: 1,
      providers: [
        {
          provider: "process",
          type: "process",
          isEligible: true,
          reason: "cheap",
          rank: 1,
          score: 0.5,
          parts: { cost: 1, health: 0 },
          pricePerHour: 2.5,
          startEstimateMs: 1_500,
          circuit: "half_open",
        },
      ],
    }),
    drainWorker: (id, reason) => store.drainWorker(id, reason, Date.now()),
    terminateWorker: (id, reason) => store.stopWorker(id, { reason }, Date.now()),
    listProviders: async () => [],
    addProvider: async () => undefined,
    changeProvider: () => undefined,
    removeProvider: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  };
  const refused: string[] = [];
  const auth = new AgentAuth({
    store,
    log,
    auditTtlMs: 60_000,
    now: Date.now,
    onRefused: (reason) => void refused.push(reason),
  });
  const audit = createAudit({ store, log, ttlMs: 60_000, now: Date.now });
  const authenticator = await createAuthenticator({
    store,
    adminTokenHash: options.isOpen === true ? undefined : hashSecret(adminToken),
    subjects: undefined,
    admitAgent: (incoming) => auth.admit(incoming),
    now: Date.now,
    onRefused: (kind) => void refused.push(kind),
    onRefusedChange: createRefusals({ audit, log, now: Date.now }),
  });
  const standard = createStandardServices({
    protoDirectory: join(import.meta.dirname, "../../proto"),
    protoFiles: ["hodei/v1/job_service.proto"],
    services: ["hodei.v1.JobService"],
  });
  const ended: string[] = [];
  const state = { isClosed: false };
  const api = await serveApi({
    store,
    logs,
    scheduler,
    registry: noProviders,
    audit,
    authenticator,
    standard,
    agents: agentService<Caller>({ attempts: idleAttempts, store, auth }),
    log,
    now: Date.now,
    defaults: specDefaults,
    logTtlMs: () => 60_000,
    idempotencyTtlMs: 60_000,
    maxQueuedJobsPerTenant: 1_000,
    strategyNames: ["lowest_cost"],
    maxWatches: options.maxWatches ?? 100,
    checkOpen: () => (state.isClosed ? unused() : undefined),
    onSubmitted: () => undefined,
    onCallBegin: () => undefined,
    onCallEnd: (method, status) => void ended.push(`${method} ${status}`),
    address: await resolveAddress("127.0.0.1:0"),
    agentAddress: undefined,
    tls: undefined,
    maxConnections: 100,
    maxStreamsPerConnection: 100,
    drainMs: 200,
  });
  standard.setServing(true);
  return {
    api,
    store,
    logs,
    scheduler,
    lines,
    woken,
    refused,
    ended,
    address: api.address,
    isOver: async (id: JobId) => isFinal((await store.findJob(id))?.state ?? "queued"),
    async [Symbol.asyncDispose]() {
      await api[Symbol.asyncDispose]();
      await logs[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export type Harness = Awaited<ReturnType<typeof startHarness>>;

export function bearer(token: string): Metadata {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  return metadata;
}

interface UnaryMethod<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (request: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

/** Calls a method of a generated service; rejects with its `ServiceError`. */
export async function ask<Request, Response>(
  client: Client,
  method: UnaryMethod<Request, Response>,
  request: Request,
  metadata: Metadata = bearer(adminToken),
): Promise<Response> {
  const { path, requestSerialize, responseDeserialize } = method;
  return new Promise((resolve, reject) => {
    const done = (error: ServiceError | null, response?: Response): void => {
      if (error === null && response !== undefined) resolve(response);
      else reject(error ?? new Error("no answer"));
    };
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, done);
  });
}

/** All messages of a stream; rejects with its error. */
export async function collect<Message>(stream: AsyncIterable<Message>): Promise<Message[]> {
  const messages: Message[] = [];
  for await (const message of stream) messages.push(message);
  return messages;
}

export const insecure = credentials.createInsecure();
export const clientOptions = channelOptions({ isShared: false });
