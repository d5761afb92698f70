import type { Dirent } from "node:fs";
import { copyFile, mkdir, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import { z } from "zod";
import type { WriteBackup } from "#api/admin-service.ts";
import { HodeiError } from "#error.ts";
import type { OpenFileLogStore } from "#logstore/files/open.ts";
import { backupSqlite } from "#store/sqlite/backup.ts";

/** What a folder says that holds a whole backup. It is written last. */
const manifestSchema = z.object({
  format: z.literal(1),
  createdAt: z.string(),
  files: z.array(z.object({ path: z.string(), bytes: z.number() })),
});
type Manifest = z.output<typeof manifestSchema>;

const manifestName = "backup.json";
const databaseName = "hodei.db";
/** Stands in a data directory while it is being filled. */
const unfinishedName = "restore-unfinished";
/** What a fresh volume holds. */
const ofVolumes = ["lost+found"];

export interface BackupGround {
  /** The data directory. */
  readonly directory: string;
  readonly logs: Pick<OpenFileLogStore, "backup">;
}

/**
 * Writes backups of a running server. The jobs are copied first, then the logs: a job that has ended has its whole log with it, and what the logs have beyond that is
 * what running jobs wrote meanwhile.
 */
export function createBackups({ directory, logs }: BackupGround): WriteBackup {
  let isRunning = false;
  return async (target) => {
    if (isRunning) {
      throw new HodeiError("failed_precondition", "a backup is being written already");
    }
    isRunning = true;
    try {
      await refuseTarget(directory, target);
      return await write({ directory, logs }, target);
    } finally {
      isRunning = false;
    }
  };
}

/** Fills an empty data directory with a backup. Errors: `failed_precondition` when it is not empty; `data_loss` when the backup is not whole. */
export async function restoreBackup(from: string, directory: string): Promise<Manifest> {
  const manifest = await readManifest(from);
  for (const { path, bytes } of manifest.files) {
    const found = await stat(join(from, path)).catch(() => undefined);
    if (found?.size === bytes) continue;
    throw new HodeiError("data_loss", `the backup ${from} is not whole: ${path}`);
  }
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if (!(await isEmpty(directory))) {
    throw new HodeiError("failed_precondition", `the data directory ${directory} is not empty`, {
      hint: "move it away, or set HODEI_DATA_DIRECTORY to a new one",
    });
  }
  const unfinished = join(directory, unfinishedName);
  await writeFile(unfinished, "", { flush: true });
  for (const { path } of manifest.files) {
    const target = join(directory, path);
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    await copyFile(join(from, path), target);
    await sync(target);
  }
  for (const folder of new Set(manifest.files.map(({ path }) => dirname(path)))) {
    await sync(join(directory, folder));
  }
  await rm(unfinished);
  await sync(directory);
  return manifest;
}

/** Error: `failed_precondition` for a data directory that a restore left halfway. */
export async function refuseUnfinished(directory: string): Promise<void> {
  const found = await stat(join(directory, unfinishedName)).catch(() => undefined);
  if (found === undefined) return;
  throw new HodeiError("failed_precondition", `${directory} was not restored to the end`, {
    hint: "empty it and restore again",
  });
}

async function write({ directory, logs }: BackupGround, target: string) {
  await mkdir(target, { recursive: true, mode: 0o700 });
  try {
    await backupSqlite(join(directory, databaseName), join(target, databaseName));
    await logs.backup(join(target, "logs"));
    await copyRest(directory, target);
    const files = await listFiles(target);
    const manifest: Manifest = { format: 1, createdAt: new Date().toISOString(), files };
    await writeFile(join(target, manifestName), JSON.stringify(manifest), {
      flush: true,
      mode: 0o600,
    });
    await sync(target);
    return { files: files.length, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
  } catch (error) {
    for (const name of await readdir(target)) {
      if (!ofVolumes.includes(name)) await rm(join(target, name), { recursive: true });
    }
    throw error;
  }
}

/** Certificates, keys, the server's identity, and which processes are its workers; nothing that jobs wrote. */
async function copyRest(directory: string, target: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true, recursive: true })) {
    const path = relative(directory, join(entry.parentPath, entry.name));
    if (!entry.isFile() || !isKept(path, entry)) continue;
    const copy = join(target, path);
    await mkdir(dirname(copy), { recursive: true, mode: 0o700 });
    await copyFile(join(directory, path), copy).catch((error: unknown) => {
      // A worker has ended just now.
      if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    });
  }
}

function isKept(path: string, { name }: Dirent): boolean {
  const [top = "", ...below] = path.split(sep);
  if (top.startsWith(databaseName) || top === "logs" || top === unfinishedName) return false;
  if (top === "processes") return name === "worker.json" || below.length <= 2;
  return true;
}

async function refuseTarget(directory: string, target: string): Promise<void> {
  if (!relative(resolve(directory), resolve(target)).startsWith("..")) {
    throw new HodeiError("invalid_argument", "directory: is in the data directory");
  }
  if (await isEmpty(target)) return;
  throw new HodeiError("failed_precondition", `the folder ${target} is not empty`);
}

async function isEmpty(directory: string): Promise<boolean> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw new HodeiError("invalid_argument", `cannot read ${directory}`, { cause: error });
  });
  return names.every((name) => ofVolumes.includes(name));
}

async function readManifest(from: string): Promise<Manifest> {
  const text = await readFile(join(from, manifestName), "utf8").catch((cause: unknown) => {
    const hint = "an interrupted backup has no backup.json and cannot be restored";
    throw new HodeiError("invalid_argument", `${from} holds no backup`, { cause, hint });
  });
  const parsed = manifestSchema.safeParse(JSON.parse(text));
  const isInside = ({ path }: Manifest["files"][number]) =>
    !relative(from, resolve(from, path)).startsWith("..");
  if (parsed.success && parsed.data.files.every(isInside)) return parsed.data;
  throw new HodeiError("invalid_argument", `${from} holds a backup of another version`);
}

async function listFiles(directory: string): Promise<Manifest["files"]> {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true });
  const files: Manifest["files"] = [];
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.push({ path: relative(directory, path), bytes: (await stat(path)).size });
  }
  return files;
}

async function sync(path: string): Promise<void> {
  await using file = await open(path, "r");
  await file.sync();
}
