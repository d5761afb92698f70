import { stages, type Failure, type Stage } from "#job/failure.ts";
import type { AttemptId, JobId, WorkerId } from "#job/id.ts";
import type { Attempt, Job, JobEvent, Usage } from "#job/job.ts";
import { jobStates, type JobState } from "#job/state.ts";
import type { NewJob } from "#store/store.ts";
import { pack, unpack, type Packable, type Unpacked } from "./pack.ts";
import type { LargeSpec } from "./specs.ts";
import {
  isAbsent,
  maybeBytes,
  maybeJson,
  maybeNumber,
  maybeText,
  toList,
  toNumber,
  toText,
} from "./values.ts";

/** What never changes in a job, as it is kept. */
export function packStatic(job: NewJob, now: number, large?: LargeSpec): Buffer {
  const { tenant, classKey, priority, deadline, name, correlationId, actor, spec } = job;
  const labels = Object.keys(job.labels).length === 0 ? undefined : JSON.stringify(job.labels);
  const head = [tenant, classKey, priority, now, deadline, name, labels];
  const held = large === undefined ? [spec] : [undefined, large.ref, spec.length];
  return pack([...head, correlationId, actor, ...held]);
}

export interface Static {
  readonly tenant: string;
  readonly classKey: string;
  readonly priority: number;
  readonly submittedAt: number;
  readonly deadline: number;
  readonly name: string;
  readonly labels: Job["labels"];
  readonly correlationId: string;
  readonly actor: string;
  /** Undefined: it is large, and stands under `ref`. */
  readonly spec: Uint8Array | undefined;
  readonly ref: string | undefined;
}

export function unpackStatic(value: Unpacked | undefined): Static {
  const [row] = unpack(bufferOf(value));
  const [tenant, classKey, priority, submittedAt, deadline, name, labels, correlation, ...rest] =
    toList(row);
  return {
    tenant: toText(tenant),
    classKey: toText(classKey),
    priority: toNumber(priority),
    submittedAt: toNumber(submittedAt),
    deadline: toNumber(deadline),
    name: toText(name),
    labels: (maybeJson(labels) ?? {}) as Job["labels"],
    correlationId: toText(correlation),
    actor: toText(rest[0]),
    spec: maybeBytes(rest[1]),
    ref: maybeText(rest[2]),
  };
}

export type Specs = ReadonlyMap<string, Uint8Array>;

/** The references of large specs among what `showJob` gave. */
export function refsOf(values: readonly Unpacked[]): string[] {
  return values.flatMap((value) => {
    const [, raw] = toList(value);
    return isAbsent(raw) ? [] : (unpackStatic(raw).ref ?? []);
  });
}

/** A job of `showJob`: its id, what never changes, and what did. Undefined when it, or its spec, is gone. */
export function decodeJob(value: Unpacked, specs?: Specs): Job | undefined {
  const [id, raw, changed] = toList(value);
  if (isAbsent(raw)) return undefined;
  const { actor: _actor, deadline, spec: own, ref = "", ...known } = unpackStatic(raw);
  const spec = own ?? specs?.get(ref);
  if (spec === undefined) return undefined;
  const start = { id: toText(id) as JobId, ...known, spec };
  if (isAbsent(changed)) {
    const at = known.submittedAt;
    const times = { stateAt: at, notBefore: at, deadline, endedAt: undefined };
    return { ...start, state: "queued", version: 1, ...times, ...untouched };
  }
  return { ...start, ...decodeRow(bufferOf(changed)) };
}

const untouched = {
  attempts: [],
  spentAttempts: 0,
  infraRetries: 0,
  failure: undefined,
  expiresAt: undefined,
} as const;

type Changing = Omit<
  Job,
  "id" | "tenant" | "classKey" | "priority" | "submittedAt" | "name" | "labels" | "spec"
>;

function decodeRow(bytes: Buffer): Omit<Changing, "correlationId"> {
  const row = toList(unpack(bytes)[0]);
  return {
    state: stateOf(row[0]),
    version: toNumber(row[1]),
    stateAt: toNumber(row[2]),
    notBefore: toNumber(row[3]),
    deadline: maybeNumber(row[4]),
    endedAt: maybeNumber(row[5]),
    expiresAt: maybeNumber(row[6]),
    spentAttempts: toNumber(row[7]),
    infraRetries: toNumber(row[8]),
    attempts: [...unpack(bufferOf(row[18])).map(decodeEnded), ...decodeCurrent(row)],
    failure: maybeJson(row[17]) as Failure | undefined,
  };
}

function decodeCurrent(row: readonly Unpacked[]): Attempt[] {
  if (isAbsent(row[10])) return [];
  const startedAt = maybeNumber(row[14]);
  return [
    {
      id: toText(row[10]) as AttemptId,
      number: toNumber(row[9]),
      workerId: toText(row[11]) as WorkerId,
      provider: toText(row[12]),
      state: startedAt === undefined ? "starting" : "running",
      assignedAt: toNumber(row[13]),
      startedAt,
      endedAt: undefined,
      exitCode: undefined,
      signal: undefined,
      failure: undefined,
      peak: undefined,
      pricePerHour: undefined,
    },
  ];
}

function decodeEnded(value: Unpacked): Attempt {
  const line = toList(value);
  return {
    id: toText(line[0]) as AttemptId,
    number: toNumber(line[1]),
    workerId: toText(line[2]) as WorkerId,
    provider: toText(line[3]),
    state: "ended",
    assignedAt: toNumber(line[4]),
    startedAt: maybeNumber(line[5]),
    endedAt: toNumber(line[6]),
    exitCode: maybeNumber(line[7]),
    signal: maybeNumber(line[8]),
    failure: maybeJson(line[9]) as Failure | undefined,
    peak: isAbsent(line[10]) ? undefined : decodeUsage(toList(line[10])),
    pricePerHour: toNumber(line[11]),
  };
}

export function usageOf(peak: Usage | undefined): Packable {
  return peak && [peak.cpuSeconds, peak.memoryBytes, peak.outputBytes];
}

function decodeUsage([cpu, memory, output]: readonly Unpacked[]): Usage {
  return {
    cpuSeconds: toNumber(cpu),
    memoryBytes: toNumber(memory),
    outputBytes: toNumber(output),
  };
}

/** The history of a job of `showJob`. The first event is told by what never changes. */
export function decodeEvents(value: Unpacked): JobEvent[] {
  const [, raw, changed] = toList(value);
  if (isAbsent(raw)) return [];
  const { submittedAt, actor } = unpackStatic(raw);
  const first: JobEvent = {
    sequence: 1,
    version: 1,
    at: submittedAt,
    state: "queued",
    stage: "queued",
    attempt: 0,
    workerId: undefined,
    message: `submitted by ${actor}`,
    failure: undefined,
    dropped: 0,
  };
  if (isAbsent(changed)) return [first];
  const row = toList(unpack(bufferOf(changed))[0]);
  return [first, ...unpack(bufferOf(row[19])).map(decodeEvent)];
}

function decodeEvent(value: Unpacked): JobEvent {
  const line = toList(value);
  return {
    sequence: toNumber(line[0]),
    version: toNumber(line[1]),
    at: toNumber(line[2]),
    state: stateOf(line[3]),
    stage: stages[toNumber(line[4])] ?? "queued",
    attempt: toNumber(line[5]),
    workerId: maybeText(line[6]) as WorkerId | undefined,
    message: toText(line[7]),
    failure: maybeJson(line[8]) as Failure | undefined,
    dropped: toNumber(line[9]),
  };
}

export function stateOf(value: Unpacked | undefined): JobState {
  const state = jobStates[toNumber(value)];
  if (state === undefined) throw new Error("the store holds a job in an unknown state");
  return state;
}

export function stageNumber(stage: Stage): number {
  return stages.indexOf(stage);
}

export function failureText(failure: Failure | undefined): string | undefined {
  return failure && JSON.stringify(failure);
}

export function bufferOf(value: Unpacked | undefined): Buffer {
  if (Buffer.isBuffer(value)) return value;
  throw new Error("the store holds something else where bytes were written");
}
