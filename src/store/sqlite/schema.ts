import { DatabaseSync } from "node:sqlite";
import { HodeiError } from "#error.ts";

/**
 * Jobs are one narrow row each, with an integer key; what is read rarely (`specs`) lies apart. A row holds its current attempt in columns, and
 * its ended attempts and its history as lines of JSON, so that one move of a job is one UPDATE. `queue_deadline` is the deadline that the job had when it
 * was last queued, until the job is over: its index finds all that are not over and is not touched while a job starts and runs.
 */
const jobSchema = `
CREATE TABLE names (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, text TEXT NOT NULL, UNIQUE (kind, text));
CREATE TABLE jobs (
  key INTEGER PRIMARY KEY,
  state INTEGER NOT NULL,
  version INTEGER NOT NULL,
  tenant INTEGER NOT NULL,
  class INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  submitted_at INTEGER NOT NULL,
  state_at INTEGER NOT NULL,
  not_before INTEGER NOT NULL,
  deadline INTEGER,
  queue_deadline INTEGER,
  ended_at INTEGER,
  expires_at INTEGER,
  spent INTEGER NOT NULL,
  infra INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  attempt_id TEXT,
  worker INTEGER,
  provider INTEGER,
  assigned_at INTEGER,
  started_at INTEGER,
  sequence INTEGER NOT NULL,
  kept INTEGER NOT NULL,
  failure TEXT,
  ended TEXT NOT NULL,
  history TEXT NOT NULL
);
CREATE INDEX jobs_live ON jobs (queue_deadline) WHERE queue_deadline IS NOT NULL;
CREATE INDEX jobs_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX jobs_tenant ON jobs (tenant);
CREATE TABLE specs (key INTEGER PRIMARY KEY, name TEXT NOT NULL, labels TEXT NOT NULL, correlation TEXT NOT NULL, spec BLOB NOT NULL);
CREATE TABLE keys (
  tenant INTEGER NOT NULL, key TEXT NOT NULL, job INTEGER NOT NULL, hash BLOB NOT NULL, expires_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE INDEX keys_expiry ON keys (expires_at);
CREATE TABLE workers (
  key INTEGER PRIMARY KEY, state INTEGER NOT NULL, data TEXT NOT NULL,
  otp_hash BLOB NOT NULL, session_hash BLOB, expires_at INTEGER
);
CREATE INDEX workers_expiry ON workers (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX workers_live ON workers (state) WHERE state < 5;
CREATE TABLE tokens (id TEXT PRIMARY KEY, data TEXT NOT NULL, hash BLOB NOT NULL, expires_at INTEGER);
CREATE TABLE audit (sequence INTEGER PRIMARY KEY AUTOINCREMENT, data TEXT NOT NULL, expires_at INTEGER NOT NULL);
CREATE INDEX audit_expiry ON audit (expires_at);
`;

const providerSchema = `
CREATE TABLE providers (name TEXT PRIMARY KEY, data TEXT NOT NULL, secret BLOB) WITHOUT ROWID;
CREATE TABLE provider_events (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, provider TEXT NOT NULL, data TEXT NOT NULL, expires_at INTEGER NOT NULL
);
CREATE INDEX provider_events_provider ON provider_events (provider, sequence);
CREATE INDEX provider_events_expiry ON provider_events (expires_at);
`;

const stateSchema = `
CREATE TABLE provider_states (provider TEXT PRIMARY KEY, at INTEGER NOT NULL, data TEXT NOT NULL) WITHOUT ROWID;
`;

/** Each brings a database of the version before it to its own, which is its place in the list, from 1. */
const steps = [jobSchema, providerSchema, stateSchema];
const schemaVersion = steps.length;

/** Opens the database and brings it to the present schema. Errors: `failed_precondition` for one of a newer program, `data_loss` for a damaged one. */
export function openDatabase(path: string): DatabaseSync {
  const db = new DatabaseSync(path);
  try {
    // A power cut may take nothing that was acknowledged; 4000 pages are 16 MB of log between checkpoints.
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      PRAGMA wal_autocheckpoint = 4000;
      PRAGMA cache_size = -32768;
      PRAGMA temp_store = MEMORY;
    `);
    migrate(db, path);
    return db;
  } catch (error) {
    db.close();
    throw isDamage(error) ? damaged(path, error) : error;
  }
}

function migrate(db: DatabaseSync, path: string): void {
  const row = db.prepare("PRAGMA user_version").get();
  const found = Number(row?.["user_version"] ?? 0);
  if (found > schemaVersion) {
    throw new HodeiError(
      "failed_precondition",
      `the store ${path} has schema ${found}, and this program knows ${schemaVersion}`,
      { hint: "start the newer version of the program that wrote it" },
    );
  }
  if (found === schemaVersion) return;
  const missing = steps.slice(found).join("");
  db.exec(`BEGIN IMMEDIATE; ${missing} PRAGMA user_version = ${schemaVersion}; COMMIT;`);
}

export function damaged(path: string, cause: unknown): HodeiError {
  const hint = "restore the file from a backup, or move it away to start with an empty store";
  return new HodeiError("data_loss", `the store ${path} is damaged`, { cause, hint });
}

/** SQLite's primary result code of an error, if it is SQLite's. */
export function sqliteCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errcode" in error)) return undefined;
  return typeof error.errcode === "number" ? error.errcode & 255 : undefined;
}

const full = 13;

/** What a full disk is told as; undefined for any other error. */
export function fullDisk(cause: unknown): HodeiError | undefined {
  if (sqliteCode(cause) !== full) return undefined;
  const hint = "free some space";
  return new HodeiError("resource_exhausted", "the store's disk is full", { cause, hint });
}

const corrupt = 11;
const notADatabase = 26;

export function isDamage(error: unknown): boolean {
  const code = sqliteCode(error);
  return code === corrupt || code === notADatabase;
}
