import { constants } from "node:fs";
import { open, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { AttemptId } from "#job/id.ts";
import { blockBytes, makeBlock, type Block, type RawFrame } from "#logstore/frames/block.ts";
import type { Archive, Pack } from "./archive.ts";
import { realDisk, syncFolder, type WarningLog } from "./disk.ts";
import type { Journal } from "./journal.ts";
import type { Entry, FileLog } from "./log.ts";
import type { PackWriter } from "./pack.ts";
import { entryBytes, gatherFrames, Part } from "./part.ts";

export interface KeeperOptions {
  readonly logs: Map<AttemptId, FileLog>;
  readonly archive: Archive;
  readonly journal: Journal;
  /** Where parts of open logs are. */
  readonly partFolder: string;
  /** The journal is shortened when it grows beyond this. */
  readonly journalBytes: number;
  /** Called when the journal has become shorter, or could not be made so. */
  readonly settled: (outcome: "shortened" | "stuck") => void;
  /** Called when a log has ended, or ended ones were packed. */
  readonly onEnded?: () => void;
  readonly log: WarningLog;
  readonly now: () => number;
}

/** So many ended logs, or so many bytes of them, are worth a file. */
const packLogs = 1024;
const packBytes = 8 * 1024 * 1024;
/** A log of this size gets a file of its own. */
const largeBytes = 4 * 1024 * 1024;
/** An open log with more batches in the journal than this is moved to a part, so that its index stays small. */
const mostEntries = 2048;
/** So much of a log is moved with one fsync. */
const spillBytes = 4 * 1024 * 1024;
const hourMs = 3_600_000;

/** Moves logs from the journal to where they stay: ended ones into the archive, long open ones into parts. One step at a time, behind everybody's back. */
export class Keeper {
  readonly #options: KeeperOptions;
  readonly #ended = new Set<FileLog>();
  #endedBytes = 0;
  readonly #crowded = new Set<FileLog>();
  #running: Promise<void> = Promise.resolve();
  #isWoken = false;

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  /** A log has ended and is to be archived some time. */
  ended(log: FileLog): void {
    this.#ended.add(log);
    this.#endedBytes += log.durable.mark.stored;
    this.#options.onEnded?.();
    if (this.#ended.size >= packLogs || this.#endedBytes >= packBytes) this.wake();
    else if (this.#options.journal.bytes > this.#options.journalBytes) this.wake();
  }

  /** A batch was placed. */
  placed(log: FileLog): void {
    const isCrowded = log.entries.length >= mostEntries;
    if (isCrowded) this.#crowded.add(log);
    if (isCrowded || this.#options.journal.bytes > this.#options.journalBytes) this.wake();
  }

  /** Shortens the journal if it is too long, and moves what there is enough of. */
  wake(): void {
    if (this.#isWoken) return;
    this.#isWoken = true;
    const { journal, settled } = this.#options;
    void this.#inTurn(async () => {
      this.#isWoken = false;
      const oldest = journal.segments[0];
      try {
        await this.#tidy();
      } finally {
        settled(journal.segments[0] === oldest ? "stuck" : "shortened");
      }
    });
  }

  /** Whether something has ended that is not in the archive. */
  get hasEnded(): boolean {
    return this.#ended.size > 0;
  }

  /** Archives everything that has ended. */
  async archiveEnded(): Promise<void> {
    await this.#inTurn(() => this.#archive());
  }

  /** Runs a step alone, after the ones that wait already. */
  alone<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#running.then(step);
    this.#running = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }

  /** Forgets a log that was deleted before it came into the archive. */
  async discard(log: FileLog): Promise<void> {
    if (this.#ended.delete(log)) this.#endedBytes -= log.durable.mark.stored;
    const parts = [...log.parts, ...log.takeRemoved(Infinity)];
    log.parts = [];
    log.releaseAll();
    for (const { path } of parts) await unlink(path);
  }

  async close(): Promise<void> {
    await this.#running;
  }

  async #inTurn(step: () => Promise<void>): Promise<void> {
    await this.alone(step).catch((error: unknown) => {
      // Nothing is lost: the journal still has it, and the next round tries again.
      this.#options.log.warn({ err: error }, "logs could not be moved out of the journal");
    });
  }

  async #tidy(): Promise<void> {
    const { journal, journalBytes, settled } = this.#options;
    const isPressed = journal.bytes > journalBytes;
    if (isPressed || this.#ended.size >= packLogs || this.#endedBytes >= packBytes) {
      await this.#archive();
    }
    for (const log of this.#crowded) {
      this.#crowded.delete(log);
      await this.#spill(log);
    }
    await journal.dropUnused();
    while (journal.bytes > journalBytes) {
      const oldest = journal.segments[0];
      if (oldest !== undefined && !journal.isClosed(oldest)) journal.roll();
      if (oldest === undefined || !journal.isClosed(oldest)) return;
      for (const log of this.#options.logs.values()) {
        const isHere = log.entries[0]?.segment === oldest;
        if (isHere && log.end === undefined) await this.#spill(log);
      }
      await this.#archive();
      await journal.dropUnused();
      if (journal.segments[0] === oldest) return;
      settled("shortened");
    }
  }

  async #archive(): Promise<void> {
    const groups = new Map<string, FileLog[]>();
    for (const log of this.#ended) {
      const { end, durable, parts } = log;
      const isLarge = durable.mark.stored >= largeBytes || parts.length > 0;
      const key = isLarge
        ? log.attempt
        : String(bucketOf(end?.expiresAt ?? 0, this.#options.now()));
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [log]);
      else group.push(log);
    }
    for (const group of groups.values()) {
      for (let from = 0; from < group.length; from += packLogs) {
        await this.#pack(group.slice(from, from + packLogs));
      }
    }
    await this.#options.journal.dropUnused();
  }

  async #pack(logs: readonly FileLog[]): Promise<void> {
    const { archive } = this.#options;
    const writer = await archive.begin();
    const blocks = new Map<FileLog, Block[]>();
    let pack: Pack;
    try {
      const entries = logs.flatMap((log) => (isSmall(log) ? log.entries : []));
      const known = await gatherFrames(entries);
      for (const log of logs) {
        const written = await this.#writeLog(writer, log, known.found);
        blocks.set(log, written);
        writer.add(describe(log, written));
      }
      pack = await archive.finish(writer);
      known.free();
    } catch (error) {
      await writer.abandon();
      throw error;
    }
    for (const log of logs) await this.#leave(log, archive.partOf(pack, blocks.get(log) ?? []));
    this.#options.onEnded?.();
  }

  /** The log is in the archive now, and nowhere else; readers go on there. */
  async #leave(log: FileLog, part: Part): Promise<void> {
    const old = [...log.parts, ...log.takeRemoved(Infinity)];
    log.parts = part.blocks.length === 0 ? [] : [part];
    log.releaseAll();
    this.#options.logs.delete(log.attempt);
    this.#ended.delete(log);
    this.#endedBytes -= log.durable.mark.stored;
    for (const { path } of old) await unlink(path);
  }

  async #writeLog(
    writer: PackWriter,
    log: FileLog,
    known: ReadonlyMap<Entry, RawFrame>,
  ): Promise<Block[]> {
    const blocks: Block[] = [];
    for (const part of log.parts) {
      for (const block of part.blocks) {
        const raw = await part.read(block);
        blocks.push({ ...block, at: writer.at });
        await writer.write([raw]);
      }
    }
    for (const entries of chunksOf(log.entries, blockBytes)) {
      const own = isSmall(log) ? undefined : await gatherFrames(entries);
      const frames = entries.flatMap((entry) => (own?.found ?? known).get(entry) ?? []);
      if (frames.length === 0) continue;
      const { block, pieces } = await makeBlock(frames, { at: writer.at, isTail: false });
      blocks.push(block);
      await writer.write(pieces);
      // A body that was not worth compressing may still be on its way to the file.
      const isPacked = block.storedBytes < block.payloadBytes;
      if (isPacked) own?.free();
    }
    return blocks;
  }

  /** Moves what an open log has in the journal to parts. */
  async #spill(log: FileLog): Promise<void> {
    log.isMoving = true;
    try {
      await this.#spillAll(log);
    } finally {
      log.isMoving = false;
    }
    log.dropParts();
  }

  async #spillAll(log: FileLog): Promise<void> {
    const all = [...log.entries];
    const head = all.filter(({ number }) => number <= (log.headEnd ?? Infinity));
    for (const isTail of [false, true]) {
      const entries = isTail ? all.slice(head.length) : head;
      const mostBytes = isTail ? Math.min(spillBytes, log.partBytes) : spillBytes;
      for (const group of chunksOf(entries, mostBytes)) await this.#spillGroup(log, group, isTail);
    }
  }

  async #spillGroup(log: FileLog, entries: readonly Entry[], isTail: boolean): Promise<void> {
    const from = entries[0]?.number ?? 0;
    const to = entries.at(-1)?.number ?? 0;
    const part = this.#partFor(log, { from, isTail });
    const read = await gatherFrames(entries);
    const blocks: Block[] = [];
    const bytes: Buffer[] = [];
    let at = part.bytes;
    for (const chunk of chunksOf(entries, blockBytes)) {
      const frames = chunk.flatMap((entry) => read.found.get(entry) ?? []);
      if (frames.length === 0) continue;
      // The journal may be gone before another batch says what was dropped.
      const { dropped } = log;
      const { block, pieces } = await makeBlock(frames, { at, isTail, dropped });
      blocks.push(block);
      bytes.push(...pieces);
      for (const piece of pieces) at += piece.length;
    }
    if (blocks.length > 0) {
      await using file = await open(part.path, constants.O_RDWR | constants.O_CREAT, 0o600);
      await file.truncate(part.bytes);
      await realDisk.write(file, bytes, part.bytes);
      await file.datasync();
      if (part.blocks.length === 0) await syncFolder(this.#options.partFolder);
    }
    read.free();
    log.move(part, { from, to, blocks });
  }

  #partFor(log: FileLog, { from, isTail }: { from: number; isTail: boolean }): Part {
    const newest = log.parts.at(-1);
    const fits = newest?.isTail === isTail && newest.payloadBytes < log.partBytes;
    if (newest !== undefined && fits) return newest;
    const name = `${log.attempt}.${String(from).padStart(12, "0")}.part`;
    return new Part(join(this.#options.partFolder, name), []);
  }
}

function isSmall({ durable }: FileLog): boolean {
  return durable.mark.stored < largeBytes;
}

function describe({ attempt, durable, dropped, end, tenant }: FileLog, blocks: readonly Block[]) {
  const expiresAt = end?.expiresAt ?? 0;
  return { attempt, ...durable, dropped, expiresAt, missing: end?.missing, blocks, tenant };
}

/** Logs that expire in the same hour, or much later on the same day, share a file. */
function bucketOf(expiresAt: number, now: number): number {
  const width = expiresAt - now < 48 * hourMs ? hourMs : 24 * hourMs;
  return Math.floor(expiresAt / width) * width;
}

/** Neighbours that come to about so many bytes. */
function* chunksOf(entries: readonly Entry[], mostBytes: number): Generator<Entry[]> {
  let chunk: Entry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    chunk.push(entry);
    bytes += entryBytes(entry);
    if (bytes < mostBytes) continue;
    yield chunk;
    chunk = [];
    bytes = 0;
  }
  if (chunk.length > 0) yield chunk;
}
