import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, mkdir, open, readdir, rename, rmdir, stat, unlink } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import { HodeiError } from "#error.ts";
import type { ObjectStore, StoredObject } from "#logstore/object-store.ts";

/** What was begun and never finished is deleted by a listing that finds it so much later. */
const abandonedMs = 24 * 3_600_000;
const unfinished = /\.[0-9a-f]{12}\.tmp$/;

/**
 * Objects as files of a folder, such as a volume that replicas share. A file is there whole or not at all, also after a power cut: it is written beside,
 * made durable, then renamed. Error: `invalid_argument` when the folder cannot be made.
 */
export async function openDirectoryObjects(directory: string): Promise<ObjectStore> {
  const root = resolve(directory);
  await mkdir(root, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw new HodeiError("invalid_argument", `cannot make the folder ${root}`, { cause });
  });
  return new DirectoryObjects(root);
}

class DirectoryObjects implements ObjectStore {
  readonly name: string;
  readonly #root: string;
  #isClosed = false;

  constructor(root: string) {
    this.#root = root;
    this.name = root;
  }

  put(key: string, path: string): Promise<void> {
    return this.#place(key, (to) => copyFile(path, to, constants.COPYFILE_EXCL));
  }

  write(key: string, bytes: Buffer): Promise<void> {
    return this.#place(key, async (to) => {
      await using file = await open(to, "wx", 0o600);
      await file.writeFile(bytes);
    });
  }

  read(key: string, at: number, size: number): Promise<Buffer | undefined> {
    return this.#try("read", key, async () => {
      const file = await open(this.#pathOf(key), "r").catch(ifMissing);
      if (file === undefined) return undefined;
      await using opened = file;
      const bytes = Buffer.allocUnsafeSlow(size);
      let have = 0;
      while (have < size) {
        const { bytesRead } = await opened.read(bytes, have, size - have, at + have);
        if (bytesRead === 0) throw new Error(`${have} of ${size} bytes are there`);
        have += bytesRead;
      }
      return bytes;
    });
  }

  async *list(): AsyncGenerator<StoredObject> {
    yield* this.#listFolder("");
  }

  delete(key: string): Promise<void> {
    return this.#try("delete", key, async () => {
      const path = this.#pathOf(key);
      await unlink(path).catch(ifMissing);
      if (!key.includes("/")) return;
      // The last one takes its folder with it.
      await rmdir(dirname(path)).catch(() => undefined);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
  }

  async #place(key: string, fill: (path: string) => Promise<void>): Promise<void> {
    await this.#try("write", key, async () => {
      const path = this.#pathOf(key);
      const aside = `${path}.${randomBytes(6).toString("hex")}.tmp`;
      const isNew = await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      try {
        await fill(aside);
        await sync(aside);
        await rename(aside, path);
      } catch (error) {
        await unlink(aside).catch(() => undefined);
        throw error;
      }
      await sync(dirname(path));
      if (isNew !== undefined) await sync(dirname(isNew));
    });
  }

  async *#listFolder(prefix: string): AsyncGenerator<StoredObject> {
    const entries = await this.#try("list", prefix, () =>
      readdir(join(this.#root, prefix), { withFileTypes: true }).catch(ifMissing),
    );
    // A folder stands where the keys in it do.
    const names = (entries ?? []).map((entry) => `${entry.name}${entry.isDirectory() ? "/" : ""}`);
    for (const name of names.toSorted()) {
      const key = `${prefix}${name}`;
      if (name.endsWith("/")) yield* this.#listFolder(key);
      else {
        const found = await this.#try("list", key, () => stat(this.#pathOf(key)).catch(ifMissing));
        if (found === undefined) continue;
        if (!unfinished.test(name)) yield { key, bytes: found.size };
        else if (found.mtimeMs + abandonedMs < Date.now()) await this.delete(key);
      }
    }
  }

  /** Keys come from this program; one that leaves the folder is a bug. */
  #pathOf(key: string): string {
    const path = join(this.#root, key);
    if (!path.startsWith(`${this.#root}${sep}`)) throw new Error(`${key} is no key`);
    return path;
  }

  async #try<Value>(verb: string, key: string, call: () => Promise<Value>): Promise<Value> {
    if (this.#isClosed)
      throw new HodeiError("unavailable", `the log archive ${this.name} is closed`);
    try {
      return await call();
    } catch (cause) {
      const text = `cannot ${verb} ${key === "" ? "objects" : key} in the log archive ${this.name}`;
      const hint = "check the volume of HODEI_LOG_ARCHIVE_DIRECTORY, its room and its rights";
      throw new HodeiError("unavailable", text, { cause, hint });
    }
  }
}

async function sync(path: string): Promise<void> {
  await using file = await open(path, "r");
  await file.sync();
}

function ifMissing(error: unknown): undefined {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
  throw error;
}
