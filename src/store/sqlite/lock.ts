import { DatabaseSync } from "node:sqlite";
import { HodeiError } from "#error.ts";
import { fullDisk, sqliteCode } from "./schema.ts";

/** SQLite's code for what somebody else has locked. */
const busy = 5;

/**
 * Holds the store at `path` for this process, until disposed or dead: a write transaction that stays open on a lock database beside it (Node has no
 * flock). Others can still read in it who the holder is. Errors: `failed_precondition` when someone else
 * holds it, `resource_exhausted` when the disk is full, and whatever else SQLite says.
 */
export function lockStore(path: string): Disposable {
  const lockPath = `${path}.lock`;
  const db = new DatabaseSync(lockPath);
  try {
    db.exec("PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; BEGIN IMMEDIATE");
    db.exec("CREATE TABLE IF NOT EXISTS holder (pid INTEGER NOT NULL); DELETE FROM holder");
    db.prepare("INSERT INTO holder (pid) VALUES (?)").run(process.pid);
    db.exec("COMMIT; BEGIN IMMEDIATE");
  } catch (cause) {
    if (sqliteCode(cause) !== busy) {
      db.close();
      throw fullDisk(cause) ?? cause;
    }
    const holder = findHolder(db);
    db.close();
    const who = holder === undefined ? "another process" : `process ${holder}`;
    throw new HodeiError("failed_precondition", `the store ${path} is in use by ${who}`, {
      cause,
      hint: "stop that server first, or give this one a data directory of its own",
    });
  }
  return { [Symbol.dispose]: () => db.close() };
}

function findHolder(db: DatabaseSync): number | undefined {
  try {
    const pid = db.prepare("SELECT pid FROM holder").get()?.["pid"];
    return typeof pid === "number" ? pid : undefined;
  } catch {
    return undefined; // It is only for the message.
  }
}
