import type { ChainableCommander, Redis } from "ioredis";
import { HodeiError } from "#error.ts";
import { numberOf } from "#job/id.ts";
import type { Attempt, Job, JobEvent } from "#job/job.ts";
import { isFinal, jobStates } from "#job/state.ts";
import {
  DumpReader,
  type DumpCounts,
  type DumpedKey,
  type DumpedRow,
  type DumpedWorker,
  type DumpRecord,
} from "#store/dump.ts";
import { isExpected, workerStates } from "#worker/worker.ts";
import { schemaVersion } from "./check.ts";
import { auditOf } from "./jobs.ts";
import { pack } from "./pack.ts";
import type { Connection } from "./connect.ts";
import { clearKeys, largeSpecOf, type LargeSpec, type Shelf } from "./specs.ts";
import { packState } from "./providers.ts";
import { failureText, packStatic, stageNumber, usageOf } from "./rows.ts";

/** Rows that are sent at a time. */
const chunkRows = 200;
/** Stands where the version of the schema does while an instance is being filled, so that no server opens it. */
const unfinished = "loading";

/** Fills an empty instance; nobody else may use it. What was loaded only in part before is deleted first, and what fails is deleted. */
export async function load(
  { redis, shelf }: Pick<Connection, "redis" | "shelf">,
  prefix: string,
  records: AsyncIterable<DumpRecord>,
): Promise<DumpCounts> {
  const clear = async () => {
    await shelf.clear();
    await clearKeys(redis, prefix);
  };
  const schemaKey = `${prefix}schema`;
  if ((await redis.get(schemaKey)) === unfinished) await clear();
  for (const key of ["s", "w", "t", "p", "k", "a"]) {
    if ((await redis.exists(`${prefix}${key}`)) === 1) {
      throw new HodeiError("failed_precondition", "the store to copy to is not empty");
    }
  }
  await redis.set(schemaKey, unfinished);
  const reader = new DumpReader();
  try {
    const loader = new Loader(redis, shelf, prefix);
    for await (const row of reader.read(records)) await loader.take(row);
    await loader.finish();
    await redis.set(schemaKey, schemaVersion);
  } catch (error) {
    await clear();
    throw error;
  }
  return reader.counts;
}

class Loader {
  readonly #redis: Redis;
  readonly #shelf: Shelf;
  readonly #prefix: string;
  /** Jobs of workers that are not over, by worker; a worker comes before its jobs. */
  readonly #workers = new Map<string, { worker: DumpedWorker; jobs: string[] }>();
  #pipeline: ChainableCommander;
  #newest = 0;

  constructor(redis: Redis, shelf: Shelf, prefix: string) {
    this.#redis = redis;
    this.#shelf = shelf;
    this.#prefix = prefix;
    this.#pipeline = redis.pipeline();
  }

  async take(row: DumpedRow): Promise<void> {
    switch (row.kind) {
      case "job":
        await this.#takeJob(row.job, row.events);
        break;
      case "key":
        this.#takeKey(row.key);
        break;
      case "worker":
        this.#takeWorker(row.worker);
        break;
      case "token": {
        const { id, subject, tenant, role, createdAt, expiresAt, revokedAt } = row.token;
        const times = [createdAt, expiresAt, revokedAt];
        const bytes = pack([id, subject, tenant, role, ...times, row.secretHash]);
        this.#pipeline.hset(this.#key("t"), id, bytes).zadd(this.#key("ti"), 0, id);
        if (expiresAt !== undefined) this.#pipeline.zadd(this.#key("xt"), expiresAt, id);
        break;
      }
      case "audit": {
        const { sequence, ...entry } = row.entry;
        const kept = auditOf({ ...entry, expiresAt: row.expiresAt });
        const bytes = pack(Array.isArray(kept) ? kept.slice(0, -1) : kept);
        this.#pipeline
          .hset(this.#key("a"), sequence, bytes)
          .zadd(this.#key("xa"), row.expiresAt, String(sequence).padStart(16, "0"))
          .set(this.#key("an"), sequence);
        break;
      }
      case "provider": {
        const { secret, ...rest } = row.provider;
        const bytes = pack([rest.version, JSON.stringify(rest), secret]);
        this.#pipeline.hset(this.#key("p"), rest.name, bytes);
        break;
      }
      case "provider_state":
        this.#pipeline.hset(this.#key("ps"), row.state.provider, packState(row.state));
        break;
      case "provider_event": {
        const { sequence, ...event } = row.event;
        const member = `${String(sequence).padStart(16, "0")}|${event.provider}`;
        this.#pipeline
          .hset(this.#key(`pe:${event.provider}`), sequence, JSON.stringify(event))
          .zadd(this.#key("xe"), row.expiresAt, member)
          .set(this.#key("en"), sequence);
        break;
      }
    }
    if (this.#pipeline.length >= chunkRows) await this.#flush();
  }

  async finish(): Promise<void> {
    for (const { worker, jobs } of this.#workers.values()) this.#putWorker(worker, jobs);
    if (this.#newest > 0) this.#pipeline.set(this.#key("n"), String(this.#newest));
    await this.#flush();
  }

  #key(name: string): string {
    return `${this.#prefix}${name}`;
  }

  async #takeJob(job: Job, events: readonly JobEvent[]): Promise<void> {
    const { id, tenant, classKey, priority } = job;
    this.#newest = Math.max(this.#newest, numberOf(id));
    const large = largeSpecOf(job.spec);
    if (large !== undefined) await this.#shelf.put(large);
    this.#pipeline
      .hset(this.#key("s"), id, staticOf(job, events, large))
      .hset(this.#key("j"), id, rowOf(job, events))
      .rpush(this.#key("i"), id)
      .rpush(this.#key(`i:${tenant}`), id);
    if (job.deadline !== undefined) this.#pipeline.zadd(this.#key("due"), job.deadline, id);
    if (isFinal(job.state)) {
      if (job.expiresAt !== undefined) this.#pipeline.zadd(this.#key("xj"), job.expiresAt, id);
    } else if (job.state === "queued") {
      const place = `${tenant}:${classKey}`;
      this.#pipeline
        .hincrby(this.#key("kinds"), `${priority}|${tenant}|${classKey}`, 1)
        .hincrby(this.#key("queued"), tenant, 1);
      if (job.notBefore <= job.stateAt) {
        this.#pipeline
          .zadd(this.#key(`q:${place}`), -priority, id)
          .zadd(this.#key(`turn:${classKey}`), 0, tenant);
      } else {
        this.#pipeline
          .zadd(this.#key("delayed"), job.notBefore, id)
          .zadd(this.#key(`b:${place}`), -priority, id);
      }
    } else {
      this.#pipeline.zadd(this.#key("act"), 0, id);
      const current = job.attempts.find(({ state }) => state !== "ended");
      if (current !== undefined) this.#workers.get(current.workerId)?.jobs.push(id);
    }
  }

  #takeKey({ tenant, key, jobId, specHash, expiresAt }: DumpedKey): void {
    const field = `${tenant}|${key}`;
    this.#pipeline
      .hset(this.#key("k"), field, pack([jobId, specHash, expiresAt]))
      .zadd(this.#key("xk"), expiresAt, field);
  }

  #takeWorker(worker: DumpedWorker): void {
    const { id, state, expiresAt, forJob } = worker;
    this.#pipeline.zadd(this.#key("wa"), 0, id);
    if (state === "ended") {
      this.#putWorker(worker, []);
      if (expiresAt !== undefined) this.#pipeline.zadd(this.#key("xw"), expiresAt, id);
      return;
    }
    this.#pipeline.zadd(this.#key("wl"), 0, id);
    if (forJob !== undefined && isExpected(worker)) {
      this.#pipeline.hincrby(this.#key("plan"), forJob, 1);
    }
    // Its jobs come later.
    this.#workers.set(id, { worker, jobs: [] });
  }

  #putWorker(worker: DumpedWorker, jobs: readonly string[]): void {
    this.#pipeline.hset(this.#key("w"), worker.id, packWorker(worker, jobs));
  }

  async #flush(): Promise<void> {
    const sent = this.#pipeline;
    this.#pipeline = this.#redis.pipeline();
    for (const [error] of (await sent.exec()) ?? []) if (error !== null) throw error;
  }
}

const submittedBy = "submitted by ";

function staticOf(job: Job, events: readonly JobEvent[], large: LargeSpec | undefined): Buffer {
  const message = events[0]?.message ?? "";
  const actor = message.startsWith(submittedBy) ? message.slice(submittedBy.length) : message;
  const { deadline = job.submittedAt } = job;
  const queue = { idempotency: undefined, maxQueued: 0 };
  return packStatic({ ...job, ...queue, actor, deadline }, job.submittedAt, large);
}

/** As the scripts keep it; the first event is told by what never changes. */
function rowOf(job: Job, events: readonly JobEvent[]): Buffer {
  const { version, stateAt, notBefore, deadline, endedAt, expiresAt, attempts } = job;
  const current = attempts.find(({ state }) => state !== "ended");
  const ended = attempts.filter(({ state }) => state === "ended").map(packEnded);
  const times = [stateAt, notBefore, deadline, endedAt, expiresAt];
  const counts = [job.spentAttempts, job.infraRetries, attempts.at(-1)?.number ?? 0];
  const now = [current?.id, current?.workerId, current?.provider, current?.assignedAt];
  return pack([
    jobStates.indexOf(job.state),
    version,
    ...times,
    ...counts,
    ...now,
    current?.startedAt,
    events.at(-1)?.sequence ?? 1,
    events.length,
    failureText(job.failure),
    Buffer.concat(ended),
    Buffer.concat(events.slice(1).map(packEvent)),
  ]);
}

function packEnded(attempt: Attempt): Buffer {
  const { id, number, workerId, provider, assignedAt, startedAt, endedAt } = attempt;
  const who = [id, number, workerId, provider, assignedAt, startedAt, endedAt ?? assignedAt];
  const how = [attempt.exitCode, attempt.signal, failureText(attempt.failure)];
  return pack([...who, ...how, usageOf(attempt.peak), attempt.pricePerHour ?? 0]);
}

function packEvent(event: JobEvent): Buffer {
  const { sequence, version, at, state, stage, attempt, workerId, message, failure } = event;
  const head = [sequence, version, at, jobStates.indexOf(state), stageNumber(stage), attempt];
  return pack([...head, workerId, message, failureText(failure), event.dropped]);
}

function packWorker(worker: DumpedWorker, jobs: readonly string[]): Buffer {
  const { provider, classKey, tenant, forJob, isForJobOnly, pricePerHour } = worker;
  const who = [workerStates.indexOf(worker.state), provider, classKey, tenant, forJob];
  const what = [isForJobOnly, pricePerHour, worker.resourceName, worker.resourceUid];
  const size = [worker.slots, worker.maxJobs, worker.attempts];
  const times = [worker.plannedAt, worker.readyAt, worker.endedAt, worker.startDeadline];
  const end = [failureText(worker.failure), worker.reason, worker.hostname, worker.expiresAt];
  const secrets = [worker.otpHash, worker.otpExpiresAt, worker.sessionHash];
  const given = jobs.toSorted();
  const rest = [given, undefined, worker.connection];
  return pack([...who, ...what, ...size, ...times, ...end, ...secrets, ...rest]);
}
