import { constants } from "node:fs";
import { open, unlink, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { readAt } from "./disk.ts";

/** One file of the journal. It is deleted when nothing in it is wanted any more and it is the oldest. */
export class Segment {
  readonly number: number;
  readonly path: string;
  readonly file: FileHandle;
  bytes: number;
  /** How many batches and ends in it are not stored elsewhere yet. */
  live = 0;
  #readers = 0;
  #isDropped = false;

  constructor(number: number, path: string, { file, bytes }: { file: FileHandle; bytes: number }) {
    this.number = number;
    this.path = path;
    this.file = file;
    this.bytes = bytes;
  }

  async read(at: number, size: number): Promise<Buffer> {
    this.#readers++;
    try {
      return await readAt(this.file, at, size);
    } finally {
      this.#readers--;
      if (this.#isDropped && this.#readers === 0) await this.file.close();
    }
  }

  /** Deletes the file; reads under way still finish. */
  async drop(): Promise<void> {
    await unlink(this.path);
    await this.close();
  }

  async close(): Promise<void> {
    if (this.#isDropped) return;
    this.#isDropped = true;
    if (this.#readers === 0) await this.file.close();
  }
}

/** A write is durable when it returns: one turn in the thread pool instead of two for write and fsync. */
const flags = constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC;

/** Opens or creates a segment. */
export async function openSegment(folder: string, number: number): Promise<Segment> {
  const path = join(folder, `${String(number).padStart(12, "0")}.log`);
  const file = await open(path, flags, 0o600);
  const { size } = await file.stat();
  return new Segment(number, path, { file, bytes: size });
}

/** The number in the name of a segment; undefined for another file. */
export function segmentNumber(name: string): number | undefined {
  const match = /^(\d{12})\.log$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}
