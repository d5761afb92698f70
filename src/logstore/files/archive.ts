import { open, readdir, rename, unlink, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { isAttemptId, type AttemptId } from "#job/id.ts";
import type { GapReason } from "#log/record.ts";
import { errorCode, readAt, syncFolder, type WarningLog } from "./disk.ts";
import type { Mark } from "./frame.ts";
import { Part, type Block } from "./part.ts";
import { SlotTable } from "./table.ts";

/** What an archive file says of one log. */
export interface ArchivedLog {
  readonly attempt: AttemptId;
  readonly number: number;
  readonly mark: Mark;
  readonly dropped: number;
  readonly expiresAt: number;
  readonly missing: GapReason | undefined;
  readonly blocks: readonly Block[];
}

interface ArchiveFile {
  readonly number: number;
  readonly path: string;
  readonly bytes: number;
  readonly logs: number;
  readonly indexAt: number;
  /** When the last of its logs expires, so that the whole file can go. */
  readonly expiresAt: number;
}

const footerBytes = 40;
const entryBytes = 64;
const footerMagic = 0x414a4c48;

/**
 * Logs that have ended. A file holds many small logs that expire at about the same time, or one large one: blocks, then what is known of
 * each log, an index of fixed width, a footer. In memory is only which file to look into.
 */
export class Archive {
  readonly #folder: string;
  readonly #table = new SlotTable();
  readonly #files = new Map<number, ArchiveFile>();
  #newest = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async open(folder: string, log: WarningLog): Promise<Archive> {
    const archive = new Archive(folder);
    for (const name of (await readdir(folder)).toSorted()) {
      if (name.endsWith(".tmp")) await unlink(join(folder, name));
      const match = /^(\d{12})\.pack$/.exec(name);
      if (match === null) continue;
      const number = Number(match[1]);
      archive.#newest = Math.max(archive.#newest, number);
      if (await archive.#load(number)) continue;
      log.warn({ path: join(folder, name) }, "log archive is damaged and cannot be read");
    }
    return archive;
  }

  get bytes(): number {
    let sum = 0;
    for (const { bytes } of this.#files.values()) sum += bytes;
    return sum;
  }

  mayHave(attempt: AttemptId): boolean {
    return this.#table.find(attempt).length > 0;
  }

  async find(attempt: AttemptId): Promise<{ log: ArchivedLog; part: Part } | undefined> {
    for (const { file: number, index } of this.#table.find(attempt)) {
      const file = this.#files.get(number);
      if (file === undefined) continue;
      const log = await readLog(file, index).catch((error: unknown) => {
        if (errorCode(error) === "ENOENT") return undefined; // It expired just now.
        throw error;
      });
      if (log?.attempt === attempt) return { log, part: new Part(file.path, [...log.blocks]) };
    }
    return undefined;
  }

  /** A new file; nothing of it is visible before it is finished. */
  async begin(): Promise<ArchiveWriter> {
    const number = ++this.#newest;
    const path = join(this.#folder, `${String(number).padStart(12, "0")}.pack`);
    const file = await open(`${path}.tmp`, "wx", 0o600);
    return new ArchiveWriter(path, file);
  }

  /** Makes a file durable and its logs visible. */
  async finish(writer: ArchiveWriter): Promise<void> {
    const logs = await writer.seal();
    await rename(`${writer.path}.tmp`, writer.path);
    await syncFolder(this.#folder);
    const number = Number(/(\d+)\.pack$/.exec(writer.path)?.[1]);
    const { indexAt, bytes } = writer;
    const expiresAt = Math.max(...logs.map((log) => log.expiresAt));
    this.#files.set(number, {
      number,
      path: writer.path,
      bytes,
      logs: logs.length,
      indexAt,
      expiresAt,
    });
    logs.forEach(({ attempt }, index) => this.#table.add(attempt, { file: number, index }));
  }

  /** Deletes the files of which every log has expired; resolves to how many logs those were. */
  async deleteExpired(now: number): Promise<number> {
    let logs = 0;
    for (const file of this.#files.values()) {
      if (file.expiresAt > now) continue;
      this.#files.delete(file.number);
      this.#table.remove(file.number);
      await unlink(file.path);
      logs += file.logs;
    }
    if (logs > 0) await syncFolder(this.#folder);
    return logs;
  }

  async #load(number: number): Promise<boolean> {
    const path = join(this.#folder, `${String(number).padStart(12, "0")}.pack`);
    await using file = await open(path, "r");
    const { size } = await file.stat();
    if (size < footerBytes) return false;
    const footer = await readAt(file, size - footerBytes, footerBytes);
    if (footer.readUInt32LE(0) !== footerMagic) return false;
    if (crc32(footer.subarray(8)) !== footer.readUInt32LE(4)) return false;
    const logs = footer.readUInt32LE(8);
    const indexAt = footer.readDoubleLE(16);
    const index = await readAt(file, indexAt, logs * entryBytes);
    if (index.length < logs * entryBytes || crc32(index) !== footer.readUInt32LE(12)) return false;
    const expiresAt = footer.readDoubleLE(24);
    this.#files.set(number, { number, path, bytes: size, logs, indexAt, expiresAt });
    for (let at = 0; at < logs; at++) {
      const attempt = index.toString("latin1", at * entryBytes, at * entryBytes + 27);
      if (isAttemptId(attempt)) this.#table.add(attempt, { file: number, index: at });
    }
    return true;
  }
}

/** Writes one archive file from beginning to end. */
export class ArchiveWriter {
  readonly path: string;
  readonly #file: FileHandle;
  readonly #logs: ArchivedLog[] = [];
  #at = 0;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #indexAt = 0;

  constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** Where the next bytes go. */
  get at(): number {
    return this.#at;
  }

  get bytes(): number {
    return this.#at;
  }

  get indexAt(): number {
    return this.#indexAt;
  }

  async write(pieces: readonly Buffer[]): Promise<void> {
    for (const piece of pieces) {
      this.#waiting.push(piece);
      this.#waitingBytes += piece.length;
      this.#at += piece.length;
    }
    if (this.#waitingBytes > 1024 * 1024 || this.#waiting.length > 512) await this.#flush();
  }

  /** Says that all blocks of a log were written. */
  add(log: ArchivedLog): void {
    this.#logs.push(log);
  }

  async seal(): Promise<readonly ArchivedLog[]> {
    const index = Buffer.alloc(this.#logs.length * entryBytes);
    for (const [number, log] of this.#logs.entries()) {
      const meta = Buffer.from(JSON.stringify(log));
      const at = number * entryBytes;
      index.write(log.attempt, at, 27, "latin1");
      index.writeUInt32LE(meta.length, at + 28);
      index.writeDoubleLE(this.#at, at + 32);
      index.writeDoubleLE(log.expiresAt, at + 40);
      index.writeUInt32LE(crc32(meta), at + 48);
      await this.write([meta]);
    }
    this.#indexAt = this.#at;
    const footer = Buffer.alloc(footerBytes);
    footer.writeUInt32LE(footerMagic, 0);
    footer.writeUInt32LE(this.#logs.length, 8);
    footer.writeUInt32LE(crc32(index), 12);
    footer.writeDoubleLE(this.#indexAt, 16);
    footer.writeDoubleLE(Math.max(...this.#logs.map(({ expiresAt }) => expiresAt)), 24);
    footer.writeUInt32LE(crc32(footer.subarray(8)), 4);
    await this.write([index, footer]);
    await this.#flush();
    await this.#file.datasync();
    await this.#file.close();
    return this.#logs;
  }

  /** Deletes what was begun. */
  async abandon(): Promise<void> {
    await this.#file.close();
    await unlink(`${this.path}.tmp`);
  }

  async #flush(): Promise<void> {
    const pieces = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (pieces.length === 0) return;
    const bytes = Buffer.concat(pieces);
    await this.#file.writeFile(bytes);
  }
}

async function readLog(file: ArchiveFile, index: number): Promise<ArchivedLog | undefined> {
  await using handle = await open(file.path, "r");
  const entry = await readAt(handle, file.indexAt + index * entryBytes, entryBytes);
  const meta = await readAt(handle, entry.readDoubleLE(32), entry.readUInt32LE(28));
  if (crc32(meta) !== entry.readUInt32LE(48)) return undefined;
  // Its checksum says that this process's own kind wrote it.
  return JSON.parse(meta.toString()) as ArchivedLog;
}
