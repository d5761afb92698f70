import { Worker } from "node:worker_threads";
import { HodeiError } from "#error.ts";

/** What the thread is started with. */
export interface BackupInput {
  readonly path: string;
  readonly target: string;
}

/**
 * Copies the store at `path`, which a server may have open, into a new file: everything that was acknowledged before the call, as of one moment. A thread of its
 * own reads it, so the store goes on.
 */
export async function backupSqlite(path: string, target: string): Promise<void> {
  const workerData: BackupInput = { path, target };
  const thread = new Worker(new URL("./backup-worker.ts", import.meta.url), { workerData });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  thread.on("error", (cause) => {
    const text = `cannot write a copy of the store to ${target}`;
    reject(new HodeiError("unavailable", text, { cause }));
  });
  thread.on("exit", () => resolve());
  await promise;
}
