import { closeSync, fsyncSync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { workerData } from "node:worker_threads";
import type { BackupInput } from "./backup.ts";

const { path, target } = workerData as BackupInput;
// SQLite fills an empty file; nobody else may read it.
closeSync(openSync(target, "wx", 0o600));
const db = new DatabaseSync(path, { readOnly: true });
// One statement reads one snapshot; writers go on beside it in their write-ahead log.
db.prepare("VACUUM INTO ?").run(target);
db.close();
const file = openSync(target, "r");
fsyncSync(file);
closeSync(file);
