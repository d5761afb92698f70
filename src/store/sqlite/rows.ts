import { jobIdOf, workerIdOf, type AttemptId } from "#job/id.ts";
import { stages, type Failure } from "#job/failure.ts";
import type { Attempt, Job, JobEvent, Usage } from "#job/job.ts";
import { jobStates, type JobState } from "#job/state.ts";
import type { Names } from "./names.ts";

/** The hot columns of a job; `undefined` never occurs. */
export type JobRow = {
  readonly key: number;
  state: number;
  version: number;
  readonly tenant: number;
  readonly class: number;
  readonly priority: number;
  readonly submittedAt: number;
  stateAt: number;
  notBefore: number;
  deadline: number | null;
  endedAt: number | null;
  expiresAt: number | null;
  spent: number;
  infra: number;
  attempts: number;
  attemptId: string | null;
  worker: number | null;
  provider: number | null;
  assignedAt: number | null;
  startedAt: number | null;
  sequence: number;
  kept: number;
  failure: string | null;
};

export const jobColumns = `jobs.key AS key, state, version, tenant, class, priority, submitted_at AS submittedAt, state_at AS stateAt,
  not_before AS notBefore, deadline, ended_at AS endedAt, expires_at AS expiresAt, spent, infra, attempts, attempt_id AS attemptId,
  worker, provider, assigned_at AS assignedAt, started_at AS startedAt, sequence, kept, failure`;

export type WholeRow = JobRow & {
  readonly ended: string;
  readonly name: string;
  readonly labels: string;
  readonly correlation: string;
  readonly spec: Uint8Array;
};

export const wholeColumns = `${jobColumns}, ended, name, labels, correlation, spec`;

export function stateOf(row: { readonly state: number }): JobState {
  const state = jobStates[row.state];
  if (state === undefined) throw new Error(`no job state has the number ${row.state}`);
  return state;
}

export function stateNumber(state: JobState): number {
  return jobStates.indexOf(state);
}

export function decodeJob(row: WholeRow, names: Names): Job {
  return {
    id: jobIdOf(row.key),
    tenant: names.textOf(row.tenant),
    spec: row.spec,
    name: row.name,
    labels: JSON.parse(row.labels) as Job["labels"],
    classKey: names.textOf(row.class),
    priority: row.priority,
    state: stateOf(row),
    version: row.version,
    submittedAt: row.submittedAt,
    stateAt: row.stateAt,
    endedAt: row.endedAt ?? undefined,
    deadline: row.deadline ?? undefined,
    notBefore: row.notBefore,
    attempts: [...decodeEnded(row.ended, names), ...decodeCurrent(row, names)],
    spentAttempts: row.spent,
    infraRetries: row.infra,
    failure: row.failure === null ? undefined : (JSON.parse(row.failure) as Failure),
    expiresAt: row.expiresAt ?? undefined,
    correlationId: row.correlation,
  };
}

function decodeCurrent(row: JobRow, names: Names): Attempt[] {
  if (row.attemptId === null) return [];
  return [
    {
      id: row.attemptId as AttemptId,
      number: row.attempts,
      workerId: workerIdOf(row.worker ?? 0),
      provider: names.textOf(row.provider ?? 0),
      state: row.startedAt === null ? "starting" : "running",
      assignedAt: row.assignedAt ?? 0,
      startedAt: row.startedAt ?? undefined,
      endedAt: undefined,
      exitCode: undefined,
      signal: undefined,
      failure: undefined,
      peak: undefined,
      pricePerHour: undefined,
    },
  ];
}

/** How an attempt ended, beside what its job's row says of it. */
export interface End {
  readonly startedAt: number | undefined;
  readonly endedAt: number;
  readonly exitCode: number | undefined;
  readonly signal: number | undefined;
  readonly failure: Failure | undefined;
  readonly peak: Usage | undefined;
  readonly pricePerHour: number;
}

type EndedLine = readonly [
  id: AttemptId,
  number: number,
  worker: number,
  provider: number,
  assignedAt: number,
  startedAt: number | null,
  endedAt: number,
  exitCode: number | null,
  signal: number | null,
  failure: Failure | null,
  peak: Usage | null,
  /** Absent in what older programs wrote. */
  pricePerHour?: number,
];

/** A line of the attempts that are over, made from the job's current one. */
export function encodeEnded(row: JobRow, end: End): string {
  const line = [
    row.attemptId,
    row.attempts,
    row.worker,
    row.provider,
    row.assignedAt,
    row.startedAt ?? end.startedAt ?? null,
    end.endedAt,
    end.exitCode ?? null,
    end.signal ?? null,
    end.failure ?? null,
    end.peak ?? null,
    end.pricePerHour,
  ];
  return `${JSON.stringify(line)}\n`;
}

export function decodeEnded(text: string, names: Names): Attempt[] {
  return lines<EndedLine>(text).map((line) => ({
    id: line[0],
    number: line[1],
    workerId: workerIdOf(line[2]),
    provider: names.textOf(line[3]),
    state: "ended",
    assignedAt: line[4],
    startedAt: line[5] ?? undefined,
    endedAt: line[6],
    exitCode: line[7] ?? undefined,
    signal: line[8] ?? undefined,
    failure: line[9] ?? undefined,
    peak: line[10] ?? undefined,
    pricePerHour: line[11] ?? 0,
  }));
}

type EventLine = readonly [
  sequence: number,
  version: number,
  at: number,
  state: number,
  stage: number,
  attempt: number,
  worker: number,
  message: string,
  failure: Failure | 0,
  dropped: number,
];

/** A line of a history. The workers' numbers are exact, since they have 53 bits. */
export function encodeEvent(event: Omit<JobEvent, "workerId"> & { worker: number }): string {
  const { sequence, version, at, attempt, worker, message, failure, dropped } = event;
  const state = stateNumber(event.state);
  const stage = stages.indexOf(event.stage);
  const head = `${sequence},${version},${at},${state},${stage},${attempt},${worker}`;
  const told = failure === undefined ? "0" : JSON.stringify(failure);
  return `[${head},${JSON.stringify(message)},${told},${dropped}]\n`;
}

export function decodeEvents(text: string): JobEvent[] {
  return lines<EventLine>(text).map((line) => ({
    sequence: line[0],
    version: line[1],
    at: line[2],
    state: stateOf({ state: line[3] }),
    stage: stages[line[4]] ?? "queued",
    attempt: line[5],
    workerId: line[6] === 0 ? undefined : workerIdOf(line[6]),
    message: line[7],
    failure: line[8] === 0 ? undefined : line[8],
    dropped: line[9],
  }));
}

function lines<Line>(text: string): Line[] {
  return text === "" ? [] : (JSON.parse(`[${text.trimEnd().replaceAll("\n", ",")}]`) as Line[]);
}
