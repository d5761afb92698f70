import type { Attempt, Job, JobEvent } from "#job/job.ts";
import { type AttemptState, type JobState, jobStates } from "#job/state.ts";
import { failureToWire, stageToWire, usageToWire } from "#rpc/failure.ts";
import type { AuditEntry as WireAuditEntry } from "#rpc/gen/hodei/v1/audit_service.ts";
import type {
  Attempt as WireAttempt,
  Job as WireJob,
  JobEvent as WireJobEvent,
  JobSpec as WireSpec,
  JobState as WireJobState,
} from "#rpc/gen/hodei/v1/job.ts";
import type { ExplainJobResponse } from "#rpc/gen/hodei/v1/job_service.ts";
import type { CircuitState } from "#rpc/gen/hodei/v1/provider_service.ts";
import type { Role as WireRole, Token as WireToken } from "#rpc/gen/hodei/v1/token_service.ts";
import type {
  Worker as WireWorker,
  WorkerState as WireWorkerState,
} from "#rpc/gen/hodei/v1/worker_service.ts";
import { dateOf, durationOf } from "#rpc/time.ts";
import type { Explanation } from "#scheduler/scheduler.ts";
import { type AuditEntry, type Role, roles, type Token } from "#tenant/identity.ts";
import { parseClassKey } from "#worker/class.ts";
import { type Worker, type WorkerState, workerStates } from "#worker/worker.ts";

// The lists of the domain are in the order of the proto's enums, whose first value is "unspecified".

const attemptStates = ["planned", "starting", "running", "ended"] as const satisfies AttemptState[];
const circuits = ["closed", "half_open", "open"] as const;

export function jobStateToWire(state: JobState): WireJobState {
  return (jobStates.indexOf(state) + 1) as WireJobState;
}

/** Undefined for a state that is none. */
export function jobStateFromWire(state: WireJobState): JobState | undefined {
  return jobStates[state - 1];
}

export function workerStateFromWire(state: WireWorkerState): WorkerState | undefined {
  return workerStates[state - 1];
}

export function roleFromWire(role: WireRole): Role | undefined {
  return roles[role - 1];
}

export function jobToWire(job: Job, spec: WireSpec): WireJob {
  return {
    id: job.id,
    tenant: job.tenant,
    spec,
    state: jobStateToWire(job.state),
    version: job.version,
    submittedAt: dateOf(job.submittedAt),
    stateAt: dateOf(job.stateAt),
    endedAt: dateOf(job.endedAt),
    deadline: dateOf(job.deadline),
    attempts: job.attempts.map(attemptToWire),
    exitCode: job.attempts.at(-1)?.exitCode,
    failure: job.failure && failureToWire(job.failure),
    expiresAt: dateOf(job.expiresAt),
    correlationId: job.correlationId,
  };
}

/** What a list shows of a spec: nothing large, and nothing that may hold a secret. */
export function shortSpec(spec: WireSpec): WireSpec {
  return { ...spec, stdin: Buffer.alloc(0), env: {}, script: undefined };
}

function attemptToWire(attempt: Attempt): WireAttempt {
  return {
    id: attempt.id,
    number: attempt.number,
    workerId: attempt.workerId,
    provider: attempt.provider,
    state: (attemptStates.indexOf(attempt.state) + 1) as WireAttempt["state"],
    assignedAt: dateOf(attempt.assignedAt),
    startedAt: dateOf(attempt.startedAt),
    endedAt: dateOf(attempt.endedAt),
    exitCode: attempt.exitCode,
    signal: attempt.signal ?? 0,
    failure: attempt.failure && failureToWire(attempt.failure),
    peak: attempt.peak && usageToWire(attempt.peak),
    cost: costOf(attempt),
  };
}

/** By the time that the attempt had its worker. */
function costOf({ pricePerHour, assignedAt, endedAt }: Attempt): number | undefined {
  if (pricePerHour === undefined || endedAt === undefined) return undefined;
  return (pricePerHour * Math.max(0, endedAt - assignedAt)) / 3_600_000;
}

export function explanationToWire(
  state: JobState,
  { stage, summary, jobsAhead, tenantShare, providers }: Explanation,
): ExplainJobResponse {
  return {
    state: jobStateToWire(state),
    stage: stageToWire(stage),
    summary,
    jobsAhead,
    tenantShare,
    providers: providers.map(({ isEligible, startEstimateMs, circuit, parts, ...verdict }) => ({
      ...verdict,
      eligible: isEligible,
      parts: { ...parts },
      expectedStart: durationOf(startEstimateMs),
      circuit: (circuits.indexOf(circuit) + 1) as CircuitState,
    })),
  };
}

export function eventToWire(event: JobEvent): WireJobEvent {
  return {
    sequence: event.sequence,
    version: event.version,
    at: dateOf(event.at),
    state: jobStateToWire(event.state),
    stage: stageToWire(event.stage),
    attempt: event.attempt,
    workerId: event.workerId ?? "",
    message: event.message,
    failure: event.failure && failureToWire(event.failure),
    dropped: event.dropped,
  };
}

export function workerToWire(worker: Worker, isConnected: boolean): WireWorker {
  return {
    id: worker.id,
    provider: worker.provider,
    state: (workerStates.indexOf(worker.state) + 1) as WireWorkerState,
    tenant: worker.tenant ?? "",
    workerClass: classInWords(worker.classKey),
    resource: worker.resourceName,
    plannedAt: dateOf(worker.plannedAt),
    readyAt: dateOf(worker.readyAt),
    endedAt: dateOf(worker.endedAt),
    connected: isConnected,
    jobIds: [...worker.jobs],
    attempts: worker.attempts,
    reason: worker.failure?.message ?? worker.reason,
    hostname: worker.hostname,
    pricePerHour: worker.pricePerHour,
  };
}

function classInWords(key: string): string {
  const { image, resources, provider } = parseClassKey(key);
  const wishes = [
    image,
    resources.cpuMillis > 0 ? `${resources.cpuMillis}m cpu` : "",
    resources.memoryBytes > 0 ? `${resources.memoryBytes} bytes memory` : "",
    resources.diskBytes > 0 ? `${resources.diskBytes} bytes disk` : "",
    resources.gpuCount > 0 ? `${resources.gpuCount} gpu ${resources.gpuType}`.trim() : "",
    provider.name === "" ? "" : `on ${provider.name}`,
  ].filter((wish) => wish !== "");
  return wishes.length === 0 ? "any" : wishes.join(", ");
}

export function tokenToWire(token: Token): WireToken {
  return {
    id: token.id,
    subject: token.subject,
    tenant: token.tenant,
    role: (roles.indexOf(token.role) + 1) as WireRole,
    createdAt: dateOf(token.createdAt),
    expiresAt: dateOf(token.expiresAt),
    revokedAt: dateOf(token.revokedAt),
  };
}

export function auditToWire(entry: AuditEntry): WireAuditEntry {
  return { ...entry, at: dateOf(entry.at) };
}
