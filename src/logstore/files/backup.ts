import { constants } from "node:fs";
import { copyFile, link, mkdir, mkdtemp, open, readdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { errorCode, readAt, syncFolder } from "./disk.ts";
import type { Journal } from "./journal.ts";
import type { Keeper } from "./keeper.ts";
import type { FileLog } from "./log.ts";

export interface BackupGround {
  /** Of the log store; `staging` folders are made in it. */
  readonly directory: string;
  readonly journal: Journal;
  readonly keeper: Keeper;
  readonly logs: ReadonlyMap<unknown, FileLog>;
}

/** A file as it was at the moment of the backup: it grows, and may be deleted, but what it had does not change. */
interface Prefix {
  readonly folder: "journal" | "parts";
  readonly path: string;
  readonly bytes: number;
}

const stagingName = "backup-";
const copyBytes = 1024 * 1024;

/** Deletes what a backup left that was interrupted. */
export async function removeStaging(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.startsWith(stagingName)) await rm(join(directory, name), { recursive: true });
  }
}

/**
 * Copies a log store that goes on meanwhile. Nothing moves between journal, parts and packs while their sizes are taken and their files are linked aside, which is
 * quick; packs, which never change, come last: what has moved into one since then is in the copied journal as well.
 */
export async function backupLogs(ground: BackupGround, folder: string): Promise<void> {
  for (const name of ["journal", "parts", "archive"]) {
    await mkdir(join(folder, name), { recursive: true, mode: 0o700 });
  }
  const staging = await mkdtemp(join(ground.directory, stagingName));
  try {
    const staged = await ground.keeper.alone(() => stage(ground, staging));
    for (const { folder: kind, path, bytes } of staged) {
      await copyPrefix(path, join(folder, kind, basename(path)), bytes);
    }
  } finally {
    await rm(staging, { recursive: true });
  }
  const from = join(ground.directory, "archive");
  // A pack leaves the disk only behind its tail, so the tails come second.
  for (const kind of [".pack", ".tail"]) {
    for (const name of await readdir(from)) {
      if (name.endsWith(kind)) await linkOrCopy(join(from, name), join(folder, "archive", name));
    }
  }
  for (const name of ["journal", "parts", "archive"]) await syncFolder(join(folder, name));
}

async function stage({ journal, logs }: BackupGround, staging: string): Promise<Prefix[]> {
  const now: Prefix[] = journal.segments.map(({ path, bytes }) => ({
    folder: "journal",
    path,
    bytes,
  }));
  for (const log of logs.values()) {
    for (const { path, bytes } of log.parts) {
      if (path.endsWith(".part")) now.push({ folder: "parts", path, bytes });
    }
  }
  const staged: Prefix[] = [];
  for (const { folder, path, bytes } of now) {
    const aside = join(staging, basename(path));
    // A part may be dropped by the quota at any time.
    const isThere = await link(path, aside).then(() => true, ifGone);
    if (isThere) staged.push({ folder, path: aside, bytes });
  }
  return staged;
}

async function copyPrefix(from: string, to: string, bytes: number): Promise<void> {
  await using source = await open(from, "r");
  await using target = await open(to, "wx", 0o600);
  for (let at = 0; at < bytes; at += copyBytes) {
    await target.writeFile(await readAt(source, at, Math.min(copyBytes, bytes - at)));
  }
  await target.sync();
}

/** A link costs nothing, where the file system is the same. */
async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return; // It expired just now.
    await copyFile(from, to, constants.COPYFILE_FICLONE).catch(ifGone);
    await using file = await open(to, "r+").catch(() => undefined);
    await file?.sync();
  }
}

function ifGone(error: unknown): false {
  if (errorCode(error) !== "ENOENT") throw error;
  return false;
}
