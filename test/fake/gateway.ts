import { agentService } from "#api/agent-service.ts";
import { AgentAuth, type AgentAuthOptions } from "#api/agent-service-auth.ts";
import type { AgentLimits } from "#api/agent-service-ground.ts";
import { toStatus } from "#api/status.ts";
import { createSequence, type JobId, type WorkerId, workerIdOf } from "#job/id.ts";
import type { Job, JobSpec } from "#job/job.ts";
import { Edge } from "#rpc/edge.ts";
import { AgentServiceService } from "#rpc/gen/hodei/v1/agent_service.ts";
import { messageLimits } from "#rpc/limits.ts";
import { listen, resolveAddress } from "#rpc/listen.ts";
import { safeHandlers } from "#rpc/serve.ts";
import { decodeSpec, encodeSpec, specFromWire } from "#rpc/spec.ts";
import { JobSpec as WireSpec } from "#rpc/gen/hodei/v1/job.ts";
import { startAttempts } from "#scheduler/attempts.ts";
import type { AttemptLimits } from "#scheduler/attempts-side.ts";
import { createJobWatch } from "#scheduler/job-watch.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import type { Store } from "#store/store.ts";
import { createLogger } from "#telemetry.ts";
import { createSecret, hashSecret } from "#worker/secret.ts";
import { FakeAgent } from "./agent.ts";
import { FakeLogStore } from "./logstore.ts";

export interface GatewayOptions {
  readonly store?: Store;
  readonly logStore?: FakeLogStore;
  readonly limits?: Partial<AttemptLimits>;
  readonly agentLimits?: Partial<AgentLimits>;
  readonly monotonic?: () => number;
  readonly auth?: Partial<AgentAuthOptions>;
}

/** The agents' side of a server on a port of its own: real gRPC, real attempts, and a store in memory. */
export async function startGateway(options: GatewayOptions = {}) {
  const { store = openMemoryStore(), logStore = new FakeLogStore() } = options;
  const lines: Record<string, unknown>[] = [];
  const log = createLogger("debug", {
    write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>),
  });
  const counts = new Map<string, number>();
  const count = (what: string): void => void counts.set(what, (counts.get(what) ?? 0) + 1);
  const watch = createJobWatch({ store, pollMs: 1_000 });
  const attempts = startAttempts({
    store,
    logStore,
    watch,
    readSpec: decodeSpec,
    log,
    count,
    limits: options.limits ?? {},
    ...(options.monotonic === undefined ? {} : { monotonic: options.monotonic }),
  });
  const auth = new AgentAuth({
    store,
    log,
    auditTtlMs: 60_000,
    now: Date.now,
    onRefused: (reason) => count(`refused_${reason}`),
    ...options.auth,
  });
  const edge = new Edge<WorkerId>({
    log,
    admit: (incoming) => auth.admit(incoming),
    toStatus,
    onEnd: (_method, code) => count(`status_${code}`),
  });
  const limits = options.agentLimits ?? {};
  const handlers = agentService<WorkerId>({ attempts, store, auth, limits, count });
  const listener = await listen({
    address: await resolveAddress("127.0.0.1:0"),
    edge,
    services: [
      {
        service: AgentServiceService,
        handlers: safeHandlers(edge, AgentServiceService, handlers),
        maxMessageBytes: messageLimits.agentBytes,
      },
    ],
    tls: undefined,
    maxConnections: 10_000,
    maxStreamsPerConnection: 100,
    drainMs: 0,
  });
  const { address } = listener;
  const agents: FakeAgent[] = [];
  return {
    store,
    logStore,
    attempts,
    watch,
    address,
    counts,
    lines,
    /** A planned worker and its one-time token. */
    async plan(plan: { readonly slots?: number; readonly maxJobs?: number } = {}) {
      const otp = createSecret();
      const id = workerIdOf(nextWorker(Date.now()));
      const { slots = 1, maxJobs = 1_000_000 } = plan;
      await store.planWorkers(
        [{ ...newWorker(id), otpHash: hashSecret(otp), slots, maxJobs }],
        Date.now(),
      );
      return { id, otp };
    },
    /** An agent whose token is redeemed. */
    async agent(plan: { readonly slots?: number; readonly maxJobs?: number } = {}) {
      const { id, otp } = await this.plan(plan);
      const agent = new FakeAgent({ address, workerId: id, otp, slots: plan.slots ?? 1 });
      agents.push(agent);
      await agent.redeem();
      return { id, agent };
    },
    /** Submits as the API does: claims are asked for in the same turn. */
    async submit(amount = 1, spec: Partial<JobSpec> = {}, tenant = "default"): Promise<JobId[]> {
      const jobs = Array.from({ length: amount }, () => ({ ...newJob(spec), tenant }));
      const accepted = store.submitJobs(jobs, Date.now());
      attempts.wake(new Set(["class"]));
      return (await accepted).map((one) => {
        if (one.kind !== "accepted") throw new Error(`the job was not accepted: ${one.kind}`);
        return one.id;
      });
    },
    async job(id: JobId | string): Promise<Job> {
      const job = await store.findJob(id as JobId);
      if (job === undefined) throw new Error(`no job ${id}`);
      return job;
    },
    async [Symbol.asyncDispose]() {
      for (const agent of agents) await agent[Symbol.asyncDispose]();
      await attempts[Symbol.asyncDispose]();
      await listener[Symbol.asyncDispose]();
    },
  };
}

export type Gateway = Awaited<ReturnType<typeof startGateway>>;

const nextWorker = createSequence();

function newWorker(id: WorkerId) {
  return {
    id,
    provider: "fake",
    classKey: "class",
    tenant: undefined,
    resourceName: `hodei-${id}`,
    otpExpiresAt: Date.now() + 60_000,
    startDeadline: Date.now() + 60_000,
    isWarm: true,
    isForJobOnly: false,
  };
}

function newJob(spec: Partial<JobSpec>) {
  const whole = {
    ...specFromWire(WireSpec.decode(new Uint8Array())),
    command: ["true"],
    ...spec,
  };
  return {
    tenant: "default",
    spec: encodeSpec(whole),
    name: "job",
    labels: {},
    classKey: "class",
    priority: 0,
    deadline: Date.now() + 3_600_000,
    correlationId: "test",
    actor: "tester",
    idempotency: undefined,
    maxQueued: 1_000_000,
  };
}
