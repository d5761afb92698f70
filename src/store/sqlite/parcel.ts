/**
 * How the hot calls travel between the threads. Structured cloning pays for every object, every key and every buffer, so a batch of jobs goes as one flat
 * list of values and one buffer, which changes hands instead of being copied. Whatever is not hot goes as it is.
 */
import type { AttemptId, JobId } from "#job/id.ts";
import type { Assignment, NewJob, SubmitAudit, SubmitOutcome } from "#store/store.ts";
import type { Answer, Call } from "./batch.ts";

export interface Parcel<Content> {
  readonly content: readonly Content[];
  /** All bytes of the parcel, one after another; to be transferred. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Gathers pieces, then puts them behind one another. */
class Pieces {
  readonly #pieces: Uint8Array[] = [];
  #size = 0;

  add(piece: Uint8Array): number {
    this.#pieces.push(piece);
    this.#size += piece.length;
    return piece.length;
  }

  join(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#size);
    let at = 0;
    for (const piece of this.#pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  }
}

/** Takes the pieces out again, in order. */
class Slices {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  take(size: number): Uint8Array {
    const slice = this.#bytes.subarray(this.#at, this.#at + size);
    this.#at += size;
    return slice;
  }
}

export function packCalls(calls: readonly Call[]): Parcel<Call> {
  const pieces = new Pieces();
  const content = calls.map((call) => {
    if (call.method !== "submitJobs") return call;
    const [jobs, now, audit] = call.args as [readonly NewJob[], number, SubmitAudit | undefined];
    const flat: unknown[] = [];
    for (const job of jobs) {
      const { idempotency } = job;
      flat.push(
        job.tenant,
        job.name,
        job.labels,
        job.classKey,
        job.priority,
        job.deadline,
        job.correlationId,
        job.actor,
        job.maxQueued,
        pieces.add(job.spec),
        idempotency?.key,
        idempotency === undefined ? 0 : pieces.add(idempotency.specHash),
        idempotency?.expiresAt,
      );
    }
    return { method: call.method, args: [flat, now, audit] };
  });
  return { content, bytes: pieces.join() };
}

type FlatJob = [
  tenant: string,
  name: string,
  labels: NewJob["labels"],
  classKey: string,
  priority: number,
  deadline: number,
  correlationId: string,
  actor: string,
  maxQueued: number,
  specBytes: number,
  key: string | undefined,
  hashBytes: number,
  expiresAt: number | undefined,
];
const jobWidth = 13;

export function unpackCalls({ content, bytes }: Parcel<Call>): readonly Call[] {
  const slices = new Slices(bytes);
  return content.map((call) => {
    if (call.method !== "submitJobs") return call;
    const [flat, ...rest] = call.args as [readonly unknown[], ...unknown[]];
    const jobs: NewJob[] = [];
    for (let at = 0; at < flat.length; at += jobWidth) {
      const row = flat.slice(at, at + jobWidth) as FlatJob;
      const [tenant, name, labels, classKey, priority, deadline, correlationId, actor] = row;
      const [, , , , , , , , maxQueued, specBytes, key, hashBytes, expiresAt = 0] = row;
      const spec = slices.take(specBytes);
      const specHash = slices.take(hashBytes);
      const idempotency = key === undefined ? undefined : { key, specHash, expiresAt };
      const facts = { tenant, spec, name, labels, classKey, priority, deadline };
      jobs.push({ ...facts, correlationId, actor, idempotency, maxQueued });
    }
    return { method: call.method, args: [jobs, ...rest] };
  });
}

export function packAnswers(calls: readonly Call[], answers: readonly Answer[]): Parcel<Answer> {
  const pieces = new Pieces();
  const content = answers.map((answer, index): Answer => {
    const method = calls[index]?.method;
    if (answer.kind === "error") return answer;
    if (method === "submitJobs") {
      const outcomes = answer.value as readonly SubmitOutcome[];
      const value = outcomes.flatMap((outcome): unknown[] =>
        outcome.kind === "accepted"
          ? ["accepted", outcome.id, outcome.version, outcome.alreadyExisted]
          : [outcome.kind, "", 0, outcome],
      );
      return { kind: "value", value };
    }
    if (method !== "claimNext") return answer;
    const value = (answer.value as readonly Assignment[]).flatMap((assignment) => [
      assignment.jobId,
      assignment.attemptId,
      assignment.attemptNumber,
      assignment.tenant,
      pieces.add(assignment.spec),
      assignment.correlationId,
      assignment.spentAttempts,
      assignment.infraRetries,
    ]);
    return { kind: "value", value };
  });
  return { content, bytes: pieces.join() };
}

type FlatAssignment = [
  jobId: JobId,
  attemptId: AttemptId,
  attemptNumber: number,
  tenant: string,
  specBytes: number,
  correlationId: string,
  spentAttempts: number,
  infraRetries: number,
];
const assignmentWidth = 8;
const outcomeWidth = 4;
/** A small spec would keep the whole of a larger buffer in memory, for as long as its job runs. */
const sharedBytes = 64 * 1024;

export function unpackAnswers(
  calls: readonly Call[],
  { content, bytes }: Parcel<Answer>,
): readonly Answer[] {
  const slices = new Slices(bytes);
  const isShared = bytes.length <= sharedBytes;
  return content.map((answer, index): Answer => {
    const method = calls[index]?.method;
    if (answer.kind === "error") return answer;
    if (method === "submitJobs") {
      const flat = answer.value as readonly unknown[];
      const value: SubmitOutcome[] = [];
      for (let at = 0; at < flat.length; at += outcomeWidth) {
        const [kind, id, version, last] = flat.slice(at, at + outcomeWidth);
        value.push(
          kind === "accepted"
            ? { kind, id: id as JobId, version: Number(version), alreadyExisted: last === true }
            : (last as SubmitOutcome),
        );
      }
      return { kind: "value", value };
    }
    if (method !== "claimNext") return answer;
    const flat = answer.value as readonly unknown[];
    const value: Assignment[] = [];
    for (let at = 0; at < flat.length; at += assignmentWidth) {
      const row = flat.slice(at, at + assignmentWidth) as FlatAssignment;
      const [jobId, attemptId, attemptNumber, tenant, size] = row;
      const [, , , , , correlationId, spentAttempts, infraRetries] = row;
      const slice = slices.take(size);
      const spec = isShared ? slice : slice.slice();
      const facts = { jobId, attemptId, attemptNumber, tenant, spec };
      value.push({ ...facts, correlationId, spentAttempts, infraRetries });
    }
    return { kind: "value", value };
  });
}
