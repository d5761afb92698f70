import type { DatabaseSync } from "node:sqlite";
import { HodeiError } from "#error.ts";
import { jobIdOf, numberOf } from "#job/id.ts";
import type { Attempt, Job, JobEvent } from "#job/job.ts";
import { isFinal } from "#job/state.ts";
import {
  DumpReader,
  wholeDump,
  type DumpCounts,
  type DumpedKey,
  type DumpedRow,
  type DumpedWorker,
  type DumpRecord,
  type StoreDump,
} from "#store/dump.ts";
import type { AuditEntry, Token } from "#tenant/identity.ts";
import type { ProviderEvent, ProviderRecord, ProviderState } from "#worker/provider-record.ts";
import { workerStates } from "#worker/worker.ts";
import { Core } from "./core.ts";
import { lockStore } from "./lock.ts";
import {
  decodeEvents,
  decodeJob,
  encodeEnded,
  encodeEvent,
  stateNumber,
  wholeColumns,
  type JobRow,
  type WholeRow,
} from "./rows.ts";
import { openDatabase } from "./schema.ts";
import { decodeWorker, encodeWorker, workerColumns, type WorkerRow } from "./worker-table.ts";

/** Opens an embedded store to be copied; no server may have it open. Its folder must exist. Errors: as of `openSqliteStore`. */
export function openSqliteDump(path: string): StoreDump {
  using parts = new DisposableStack();
  parts.use(lockStore(path));
  const db = openDatabase(path);
  parts.defer(() => db.close());
  const core = new Core(db);
  const kept = parts.move();
  return {
    dump: () => wholeDump(rowsOf(core)),
    load: (records) => load(core, records),
    [Symbol.asyncDispose]: async () => kept.dispose(),
  };
}

function* rowsOf(core: Core): Generator<DumpedRow> {
  const { db, names } = core;
  const all = (sql: string) => db.prepare(sql).iterate() as Iterable<unknown>;
  for (const row of all(`SELECT ${workerColumns} FROM workers ORDER BY key`)) {
    const { worker, ...secrets } = decodeWorker(row as WorkerRow);
    yield { kind: "worker", worker: { ...worker, ...secrets } };
  }
  const jobs = `SELECT ${wholeColumns}, history FROM jobs JOIN specs ON specs.key = jobs.key ORDER BY jobs.key`;
  for (const row of all(jobs)) {
    const whole = row as WholeRow & { readonly history: string };
    const events = decodeEvents(whole.history);
    yield { kind: "job", job: decodeJob(whole, names), events };
  }
  for (const row of all("SELECT tenant, key, job, hash, expires_at AS expiresAt FROM keys")) {
    const { tenant, key, job, hash, expiresAt } = row as KeyRow;
    const jobId = jobIdOf(job);
    const found = { tenant: names.textOf(tenant), key, jobId, specHash: hash, expiresAt };
    yield { kind: "key", key: found };
  }
  for (const row of all("SELECT data, hash FROM tokens ORDER BY id")) {
    const { data, hash } = row as { data: string; hash: Uint8Array };
    yield { kind: "token", token: JSON.parse(data) as Token, secretHash: hash };
  }
  for (const row of all("SELECT sequence, data, expires_at AS at FROM audit ORDER BY sequence")) {
    const { sequence, data, at } = row as EntryRow;
    const entry = { ...(JSON.parse(data) as Omit<AuditEntry, "sequence">), sequence };
    yield { kind: "audit", entry, expiresAt: at };
  }
  for (const row of all("SELECT data, secret FROM providers ORDER BY name")) {
    const { data, secret } = row as { data: string; secret: Uint8Array | null };
    const stored = JSON.parse(data) as Omit<ProviderRecord, "secret">;
    yield { kind: "provider", provider: { ...stored, secret: secret ?? undefined } };
  }
  const events = "SELECT sequence, data, expires_at AS at FROM provider_events ORDER BY sequence";
  for (const row of all(events)) {
    const { sequence, data, at } = row as EntryRow;
    const event = { ...(JSON.parse(data) as Omit<ProviderEvent, "sequence">), sequence };
    yield { kind: "provider_event", event, expiresAt: at };
  }
  for (const row of all("SELECT provider, at, data FROM provider_states ORDER BY provider")) {
    yield { kind: "provider_state", state: { ...(row as ProviderState) } };
  }
}

type KeyRow = {
  readonly tenant: number;
  readonly key: string;
  readonly job: number;
  readonly hash: Uint8Array;
  readonly expiresAt: number;
};

type EntryRow = { readonly sequence: number; readonly data: string; readonly at: number };

async function load(core: Core, records: AsyncIterable<DumpRecord>): Promise<DumpCounts> {
  const { db } = core;
  const filled = ["jobs", "workers", "keys", "tokens", "audit", "providers"].filter(
    (table) => db.prepare(`SELECT 1 FROM ${table} LIMIT 1`).get() !== undefined,
  );
  if (filled.length > 0) {
    throw new HodeiError("failed_precondition", "the store to copy to is not empty");
  }
  const reader = new DumpReader();
  const loader = new Loader(core);
  db.exec("BEGIN IMMEDIATE");
  try {
    for await (const row of reader.read(records)) loader.take(row);
    db.exec("COMMIT");
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  return reader.counts;
}

class Loader {
  readonly #core: Core;
  readonly #statements: ReturnType<typeof prepare>;

  constructor(core: Core) {
    this.#core = core;
    this.#statements = prepare(core.db);
  }

  take(row: DumpedRow): void {
    const { token, audit, provider, providerEvent, providerState } = this.#statements;
    switch (row.kind) {
      case "job":
        this.#takeJob(row.job, row.events);
        return;
      case "key":
        this.#takeKey(row.key);
        return;
      case "worker":
        this.#takeWorker(row.worker);
        return;
      case "token":
        token.run(row.token.id, toJson(row.token), row.secretHash, row.token.expiresAt ?? null);
        return;
      case "audit": {
        const { sequence, ...entry } = row.entry;
        audit.run(sequence, toJson(entry), row.expiresAt);
        return;
      }
      case "provider": {
        const { secret, ...rest } = row.provider;
        provider.run(rest.name, toJson(rest), secret ?? null);
        return;
      }
      case "provider_event": {
        const { sequence, ...event } = row.event;
        providerEvent.run(sequence, event.provider, toJson(event), row.expiresAt);
        return;
      }
      case "provider_state":
        providerState.run(row.state.provider, row.state.at, row.state.data);
        return;
    }
  }

  #takeJob(job: Job, events: readonly JobEvent[]): void {
    const { names } = this.#core;
    const row = this.#rowOf(job, events);
    const providerOf = (attempt: Attempt) => names.numberOf("provider", attempt.provider);
    const ended = job.attempts.flatMap((attempt) => {
      if (attempt.state !== "ended") return [];
      const line = { ...row, ...currentColumns(attempt, providerOf(attempt)) };
      const { endedAt = 0, pricePerHour = 0 } = attempt;
      return [
        encodeEnded({ ...line, attempts: attempt.number }, { ...attempt, endedAt, pricePerHour }),
      ];
    });
    const history = events.map(({ workerId, ...event }) =>
      encodeEvent({ ...event, worker: workerId === undefined ? 0 : numberOf(workerId) }),
    );
    const values = Object.fromEntries(
      Object.entries(row).map(([name, value]) => [`$${name}`, value]),
    );
    this.#statements.job.run({
      ...values,
      // Says only that it is not over; a job that waits has its own deadline in it.
      $queueDeadline: isFinal(job.state) ? null : (job.deadline ?? job.stateAt),
      $ended: ended.join(""),
      $history: history.join(""),
    });
    const { name, labels, correlationId, spec } = job;
    this.#statements.spec.run(row.key, name, JSON.stringify(labels), correlationId, spec);
  }

  #rowOf(job: Job, events: readonly JobEvent[]): JobRow {
    const { names } = this.#core;
    const current = job.attempts.find(({ state }) => state !== "ended");
    return {
      key: numberOf(job.id),
      state: stateNumber(job.state),
      version: job.version,
      tenant: names.numberOf("tenant", job.tenant),
      class: names.numberOf("class", job.classKey),
      priority: job.priority,
      submittedAt: job.submittedAt,
      stateAt: job.stateAt,
      notBefore: job.notBefore,
      deadline: job.deadline ?? null,
      endedAt: job.endedAt ?? null,
      expiresAt: job.expiresAt ?? null,
      spent: job.spentAttempts,
      infra: job.infraRetries,
      attempts: job.attempts.at(-1)?.number ?? 0,
      ...(current === undefined
        ? noAttempt
        : currentColumns(current, names.numberOf("provider", current.provider))),
      sequence: events.at(-1)?.sequence ?? 0,
      kept: events.length,
      failure: job.failure === undefined ? null : JSON.stringify(job.failure),
    };
  }

  #takeKey({ tenant, key, jobId, specHash, expiresAt }: DumpedKey): void {
    const number = this.#core.names.numberOf("tenant", tenant);
    this.#statements.key.run(number, key, numberOf(jobId), specHash, expiresAt);
  }

  #takeWorker({ otpHash, otpExpiresAt, sessionHash, ...worker }: DumpedWorker): void {
    this.#statements.worker.run(
      numberOf(worker.id),
      workerStates.indexOf(worker.state),
      encodeWorker({ worker, otpHash, otpExpiresAt, sessionHash }),
      otpHash,
      sessionHash ?? null,
      worker.expiresAt ?? null,
    );
  }
}

const noAttempt = {
  attemptId: null,
  worker: null,
  provider: null,
  assignedAt: null,
  startedAt: null,
};

function currentColumns(attempt: Attempt, provider: number) {
  return {
    attemptId: attempt.id,
    worker: numberOf(attempt.workerId),
    provider,
    assignedAt: attempt.assignedAt,
    startedAt: attempt.startedAt ?? null,
  };
}

function prepare(db: DatabaseSync) {
  return {
    job: db.prepare(`INSERT INTO jobs VALUES ($key, $state, $version, $tenant, $class, $priority, $submittedAt, $stateAt, $notBefore,
      $deadline, $queueDeadline, $endedAt, $expiresAt, $spent, $infra, $attempts, $attemptId, $worker, $provider, $assignedAt, $startedAt,
      $sequence, $kept, $failure, $ended, $history)`),
    spec: db.prepare("INSERT INTO specs VALUES (?, ?, ?, ?, ?)"),
    key: db.prepare("INSERT INTO keys VALUES (?, ?, ?, ?, ?)"),
    worker: db.prepare("INSERT INTO workers VALUES (?, ?, ?, ?, ?, ?)"),
    token: db.prepare("INSERT INTO tokens VALUES (?, ?, ?, ?)"),
    audit: db.prepare("INSERT INTO audit VALUES (?, ?, ?)"),
    provider: db.prepare("INSERT INTO providers VALUES (?, ?, ?)"),
    providerEvent: db.prepare("INSERT INTO provider_events VALUES (?, ?, ?, ?)"),
    providerState: db.prepare("INSERT INTO provider_states VALUES (?, ?, ?)"),
  };
}

function toJson(value: object): string {
  return JSON.stringify(value);
}
