import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { LogStore } from "#logstore/logstore.ts";
import { Archive } from "./archive.ts";
import { removeStaging } from "./backup.ts";
import { RecentFrames } from "./cache.ts";
import { realDisk, type Disk, type WarningLog } from "./disk.ts";
import { Journal } from "./journal.ts";
import { Keeper } from "./keeper.ts";
import { Quota } from "./quota.ts";
import { recover } from "./recover.ts";
import { Shipper, type Shipping } from "./shipper.ts";
import { FileLogStore } from "./store.ts";
import { Valve } from "./valve.ts";

/** How to open a log store of local files. */
export interface FileLogStoreOptions {
  readonly directory: string;
  /** Bytes that one attempt may keep: the first half of it and the last half. */
  readonly quotaBytesPerAttempt: number;
  /** When the logs of a tenant, here and in the archive, have more bytes than this, its logs keep their first and last bytes only; 0: no bound. */
  readonly quotaBytesPerTenant?: number;
  /** Size of one journal file. */
  readonly segmentBytes?: number;
  /** Beyond this the journal is shortened by moving logs out of it; with two files more it takes no more of the logs that fill it. */
  readonly journalBytes?: number;
  /** Memory for batches that followers share. */
  readonly cacheBytes?: number;
  /** Where logs that have ended are archived besides; it is closed with the store. */
  readonly shipping?: Shipping | undefined;
  readonly now?: () => number;
  readonly log?: WarningLog;
  /** Called once, when a write failed in a way that leaves its outcome unknown: the store has to be opened again. */
  readonly onBroken?: (error: Error) => void;
  /** For tests that let the disk fail. */
  readonly disk?: Disk;
}

/** A log store of local files. */
export interface OpenFileLogStore extends LogStore {
  /**
   * Copies everything that was acknowledged before the call, and perhaps more, into a new folder, from which a store can be opened; meanwhile this one
   * goes on. On the same file system, what never changes again is linked.
   */
  backup(folder: string): Promise<void>;
}

const mebibyte = 1024 * 1024;

/**
 * Opens a log store of local files: `journal/` holds what was acknowledged, `parts/` the older batches of long open logs, `archive/` the logs
 * that have ended. Only one process may have it open.
 */
export async function openFileLogStore(options: FileLogStoreOptions): Promise<OpenFileLogStore> {
  const segmentBytes = options.segmentBytes ?? 64 * mebibyte;
  const now = options.now ?? Date.now;
  const log = options.log ?? { warn: () => undefined };
  const [journalFolder, partFolder, archiveFolder] = ["journal", "parts", "archive"].map((name) =>
    join(options.directory, name),
  ) as [string, string, string];
  for (const folder of [journalFolder, partFolder, archiveFolder]) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  }
  await removeStaging(options.directory);
  const { shipping } = options;
  const archive = await Archive.open({ folder: archiveFolder, log, objects: shipping?.objects });
  const quotaBytes = options.quotaBytesPerAttempt;
  const bytesPerTenant = options.quotaBytesPerTenant ?? 0;
  const quota = new Quota({ bytesPerAttempt: quotaBytes, bytesPerTenant });
  const found = await recover({ journalFolder, partFolder, archive, quota, log });
  const journalBytes = options.journalBytes ?? 4 * segmentBytes;
  const disk = options.disk ?? realDisk;
  const { segments, logs } = found;
  quota.counts(logs, archive);
  const journal = new Journal({
    folder: journalFolder,
    segments,
    segmentBytes,
    disk,
    onWritten: () => valve.written(),
    onBroken: options.onBroken ?? (() => undefined),
  });
  const keeper = new Keeper({
    logs,
    archive,
    journal,
    partFolder,
    log,
    now,
    journalBytes,
    settled: (outcome) => valve.settle(outcome),
    onEnded: () => shipper?.noticed(),
  });
  const valve: Valve = new Valve({
    journal,
    logs,
    boundBytes: journalBytes + 2 * segmentBytes,
    shorten: () => keeper.wake(),
  });
  const shipper: Shipper | undefined =
    shipping && new Shipper({ ...shipping, archive, keeper, log, now });
  const recent = new RecentFrames(options.cacheBytes ?? 32 * mebibyte);
  const isDamaged = found.isDamaged;
  return new FileLogStore({
    directory: options.directory,
    logs,
    archive,
    journal,
    keeper,
    shipper,
    valve,
    recent,
    log,
    now,
    quota,
    isDamaged,
  });
}
