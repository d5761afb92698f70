import { open, readdir, rename, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { HodeiError } from "#error.ts";
import type { AttemptId } from "#job/id.ts";
import type { ObjectStore } from "#logstore/object-store.ts";
import { errorCode, readAt, syncFolder, type WarningLog } from "./disk.ts";
import {
  entryBytes,
  footerBytes,
  objectKey,
  parseArchivedLog,
  parseEntry,
  parseTail,
  PackWriter,
  tailBytes,
  type ArchivedLog,
  type PackEntry,
  type PackTail,
} from "./pack.ts";
import type { Block } from "#logstore/frames/block.ts";
import { Part } from "./part.ts";
import { ReadAhead } from "#logstore/frames/read-ahead.ts";
import { SlotTable } from "./table.ts";

/** A pack, and where it is. */
export interface Pack {
  readonly number: number;
  readonly path: string;
  /** Its tail alone; that file says that the whole is stored as an object. */
  readonly tailPath: string;
  readonly key: string;
  readonly bytes: number;
  readonly logs: number;
  readonly indexAt: number;
  readonly expiresAt: number;
  readonly createdAt: number;
  /** Bytes of the logs of each tenant, by its number. */
  readonly tenants: ReadonlyMap<number, number>;
  /** Whether the whole is on this disk. */
  isLocal: boolean;
  /** Whether the whole is stored as an object. */
  isRemote: boolean;
}

export interface ArchiveOptions {
  readonly folder: string;
  readonly log: WarningLog;
  /** Where packs are stored as objects. */
  readonly objects?: ObjectStore | undefined;
}

/**
 * Logs that have ended, in packs: on this disk, in an object store, or both. Of a pack that is elsewhere only the tail is here. In memory is only which pack
 * to look into.
 */
export class Archive {
  readonly #options: ArchiveOptions;
  readonly #table = new SlotTable();
  readonly #packs = new Map<number, Pack>();
  #newest = 0;

  private constructor(options: ArchiveOptions) {
    this.#options = options;
  }

  static async open(options: ArchiveOptions): Promise<Archive> {
    const archive = new Archive(options);
    const numbers = new Set<number>();
    for (const name of await readdir(options.folder)) {
      if (name.endsWith(".tmp")) await unlink(join(options.folder, name));
      const match = /^(\d{12})\.(?:pack|tail)$/.exec(name);
      if (match !== null) numbers.add(Number(match[1]));
    }
    for (const number of [...numbers].toSorted((left, right) => left - right)) {
      archive.#newest = number;
      await archive.#load(number);
    }
    return archive;
  }

  /** Bytes on this disk. */
  get bytes(): number {
    let sum = 0;
    for (const { isLocal, bytes } of this.#packs.values()) if (isLocal) sum += bytes;
    return sum;
  }

  /** Oldest first. */
  get packs(): readonly Pack[] {
    return [...this.#packs.values()];
  }

  /** Without asking a disk; nearly always right. */
  mayHave(attempt: AttemptId): boolean {
    return this.#table.find(attempt).length > 0;
  }

  /** Whether it has the log of an attempt, without asking the object store. */
  async has(attempt: AttemptId): Promise<boolean> {
    for (const { pack, entry } of await this.#entriesOf(attempt)) {
      // What cannot be looked at here is as it was when it was stored.
      if (!pack.isLocal) return true;
      const meta = await this.#read(pack, entry.at, entry.bytes);
      if (parseArchivedLog(meta, entry) !== undefined) return true;
    }
    return false;
  }

  /** Error: `unavailable` when the log is elsewhere and that cannot be reached. */
  async find(attempt: AttemptId): Promise<{ log: ArchivedLog; part: Part } | undefined> {
    for (const { pack, entry } of await this.#entriesOf(attempt)) {
      const meta = await this.#read(pack, entry.at, entry.bytes).catch(ifGone);
      const log = meta && parseArchivedLog(meta, entry);
      if (log !== undefined) return { log, part: this.partOf(pack, [...log.blocks]) };
    }
    return undefined;
  }

  /** A new pack; nothing of it is visible before it is finished. */
  async begin(): Promise<PackWriter> {
    const path = this.#pathOf(++this.#newest, "pack");
    return new PackWriter(path, await open(`${path}.tmp`, "wx", 0o600));
  }

  /** Makes a pack durable and its logs visible. */
  async finish(writer: PackWriter): Promise<Pack> {
    const tail = parseTail(await writer.seal());
    if (tail === undefined) throw new Error("a pack that was just written cannot be read");
    await rename(`${writer.path}.tmp`, writer.path);
    await syncFolder(this.#options.folder);
    const number = Number(/(\d+)\.pack$/.exec(writer.path)?.[1]);
    return this.#add(tail, { number, isLocal: true, isRemote: false, createdAt: Date.now() });
  }

  partOf(pack: Pack, blocks: Block[]): Part {
    const end = blocks.at(-1);
    const read = (at: number, size: number) => this.#read(pack, at, size);
    const isElsewhere = () => !pack.isLocal;
    const endAt = end === undefined ? 0 : new Part(pack.path, [end]).bytes;
    return new Part(pack.path, blocks, new ReadAhead({ read, endAt, isElsewhere }));
  }

  /** Notes durably that a pack is stored as an object. */
  async markStored(pack: Pack): Promise<void> {
    const bytes = pack.logs * entryBytes + footerBytes;
    await using file = await open(pack.path, "r");
    await this.#writeTail(pack.tailPath, await readAt(file, pack.indexAt, bytes));
    pack.isRemote = true;
  }

  /** Takes notice that a pack is not stored as an object after all. */
  async markMissing(pack: Pack): Promise<void> {
    pack.isRemote = false;
    await unlink(pack.tailPath);
  }

  /** Deletes this disk's copy of a pack that is stored as an object. */
  async dropLocal(pack: Pack): Promise<void> {
    if (!pack.isRemote || !pack.isLocal) return;
    pack.isLocal = false;
    await unlink(pack.path);
  }

  /** Takes an object that this store does not know, by its tail. */
  async adopt(raw: Buffer): Promise<void> {
    const tail = parseTail(raw);
    if (tail === undefined) return;
    const number = ++this.#newest;
    await this.#writeTail(this.#pathOf(number, "tail"), raw);
    this.#add(tail, { number, isLocal: false, isRemote: true, createdAt: Date.now() });
  }

  /** Forgets the packs of which every log has expired, and deletes what is here of them; resolves to how many logs those were. */
  async deleteExpired(now: number): Promise<number> {
    let logs = 0;
    for (const pack of this.#packs.values()) {
      if (pack.expiresAt > now) continue;
      this.#packs.delete(pack.number);
      this.#table.remove(pack.number);
      if (pack.isLocal) await unlink(pack.path);
      if (pack.isRemote) await unlink(pack.tailPath);
      logs += pack.logs;
    }
    if (logs > 0) await syncFolder(this.#options.folder);
    return logs;
  }

  async #load(number: number): Promise<void> {
    const { log } = this.#options;
    const path = this.#pathOf(number, "pack");
    const tailPath = this.#pathOf(number, "tail");
    const whole = await loadTail(path);
    const stored = await loadTail(tailPath);
    const tail = whole?.tail ?? stored?.tail;
    if (whole !== undefined && whole.tail === undefined) {
      log.warn({ path }, "log archive is damaged and cannot be read");
    }
    if (stored !== undefined && stored.tail === undefined) await unlink(tailPath);
    if (tail === undefined) return;
    this.#add(tail, {
      number,
      isLocal: whole?.tail !== undefined,
      isRemote: stored?.tail !== undefined,
      createdAt: (whole ?? stored)?.modifiedAt ?? 0,
    });
  }

  #add(tail: PackTail, found: Pick<Pack, "number" | "isLocal" | "isRemote" | "createdAt">): Pack {
    const { logs, indexAt, bytes, expiresAt, attempts, tenants } = tail;
    const { number } = found;
    const path = this.#pathOf(number, "pack");
    const tailPath = this.#pathOf(number, "tail");
    const key = objectKey(tail);
    const pack = { ...found, path, tailPath, key, logs, indexAt, bytes, expiresAt, tenants };
    this.#packs.set(number, pack);
    for (const [index, attempt] of attempts.entries()) {
      if (attempt !== undefined) this.#table.add(attempt, { file: number, index });
    }
    return pack;
  }

  /** Packs whose index names the attempt; nearly always none or one. */
  async #entriesOf(attempt: AttemptId): Promise<{ pack: Pack; entry: PackEntry }[]> {
    const found: { pack: Pack; entry: PackEntry }[] = [];
    for (const { file, index } of this.#table.find(attempt)) {
      const pack = this.#packs.get(file);
      if (pack === undefined) continue;
      const bytes = await this.#readEntry(pack, index).catch(ifGone);
      const entry = bytes && parseEntry(bytes);
      if (entry?.attempt === attempt) found.push({ pack, entry });
    }
    return found;
  }

  async #readEntry(pack: Pack, index: number): Promise<Buffer> {
    const at = index * entryBytes;
    if (pack.isLocal) {
      const bytes = await readFrom(pack.path, pack.indexAt + at, entryBytes).catch(ifGone);
      if (bytes !== undefined) return bytes;
    }
    return readFrom(pack.tailPath, at, entryBytes);
  }

  /** From this disk, else from the object store. */
  async #read(pack: Pack, at: number, size: number): Promise<Buffer> {
    if (pack.isLocal) {
      const bytes = await readFrom(pack.path, at, size).catch(ifGone);
      if (bytes !== undefined) return bytes;
    }
    const { objects, log } = this.#options;
    const isKnown = this.#packs.get(pack.number) === pack;
    if (!pack.isRemote || !isKnown) throw gone(pack);
    if (objects === undefined) {
      const hint = "set HODEI_LOG_ARCHIVE as it was when the log was archived";
      throw new HodeiError("unavailable", "the log is in an archive that is not set", { hint });
    }
    const bytes = await objects.read(pack.key, at, size);
    if (bytes !== undefined) return bytes;
    if (this.#packs.get(pack.number) === pack) {
      log.warn({ archive: objects.name, key: pack.key }, "an archived log is missing");
    }
    throw gone(pack);
  }

  async #writeTail(path: string, raw: Buffer): Promise<void> {
    await writeFile(`${path}.tmp`, raw, { mode: 0o600, flush: true });
    await rename(`${path}.tmp`, path);
    await syncFolder(this.#options.folder);
  }

  #pathOf(number: number, kind: "pack" | "tail"): string {
    return join(this.#options.folder, `${String(number).padStart(12, "0")}.${kind}`);
  }
}

/** Undefined when there is no such file. */
async function loadTail(
  path: string,
): Promise<{ tail: PackTail | undefined; modifiedAt: number } | undefined> {
  const found = await stat(path).catch(ifGone);
  if (found === undefined) return undefined;
  const { size, mtimeMs: modifiedAt } = found;
  const end = await readFrom(path, Math.max(0, size - footerBytes), footerBytes);
  const bytes = tailBytes(end) ?? Infinity;
  if (bytes > size) return { tail: undefined, modifiedAt };
  return { tail: parseTail(await readFrom(path, size - bytes, bytes)), modifiedAt };
}

async function readFrom(path: string, at: number, size: number): Promise<Buffer> {
  await using file = await open(path, "r");
  return readAt(file, at, size);
}

/** It has expired, or is elsewhere by now. */
function ifGone(error: unknown): undefined {
  if (errorCode(error) !== "ENOENT") throw error;
}

function gone({ path }: Pack): Error {
  return Object.assign(new Error(`there is no ${path} any more`), { code: "ENOENT" });
}
