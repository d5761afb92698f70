import { HodeiError } from "#error.ts";
import type { AttemptId } from "#job/id.ts";
import {
  blockBytes,
  blockHeaderBytes,
  framesOf,
  makeBlock,
  parseHeader,
  type RawFrame,
} from "#logstore/frames/block.ts";
import type { Frame } from "#logstore/frames/frame.ts";
import { ReadAhead } from "#logstore/frames/read-ahead.ts";
import type { ObjectStore } from "#logstore/object-store.ts";
import { segmentKey } from "./keys.ts";
import type { LogLink } from "./link.ts";
import type { Segment } from "./view.ts";

/** Begins the names of segments: whether they are objects of the archive, or lie in Redis. */
const kinds = { archive: "o", redis: "r" } as const;

/** Stores sealed segments: in the archive, or compressed in Redis where there is none. Where a segment is follows from its name. */
export class Segments {
  readonly #link: LogLink;
  readonly #objects: ObjectStore | undefined;

  constructor(link: LogLink, objects: ObjectStore | undefined) {
    this.#link = link;
    this.#objects = objects;
  }

  /** A name for a new segment; `token` is like no other of its log. */
  nameOf(token: string): string {
    return `${this.#objects === undefined ? kinds.redis : kinds.archive}${token}`;
  }

  async write(attempt: AttemptId, name: string, bytes: Buffer): Promise<void> {
    if (!isArchived(name)) {
      await this.#link.write("SET", segmentKey(this.#link.instance, attempt, name), bytes);
    } else await this.#archive.write(objectKey(attempt, name), bytes);
  }

  /** Deleting what is not there is fine. */
  async delete(attempt: AttemptId, name: string): Promise<void> {
    if (!isArchived(name)) {
      await this.#link.write("UNLINK", segmentKey(this.#link.instance, attempt, name));
    } else await this.#archive.delete(objectKey(attempt, name));
  }

  /** The batches of a segment, block by block; what is damaged is left out. Error: code `not_found` when there is no such segment (any more). */
  async *read(
    attempt: AttemptId,
    { name, bytes: endAt }: Pick<Segment, "name" | "bytes">,
  ): AsyncGenerator<readonly Frame[] | "damaged"> {
    const read = (at: number, size: number) => this.#range({ attempt, name }, at, size);
    const source = new ReadAhead({ read, endAt, isElsewhere: () => true });
    for (let at = 0; at + blockHeaderBytes <= endAt;) {
      let found = await readBlockAt(source, at);
      if (found?.frames === undefined) {
        source.forget(); // It may have been damaged on the way only.
        found = await readBlockAt(source, at);
      }
      yield found?.frames ?? "damaged";
      if (found === undefined) return;
      at = found.end;
    }
  }

  async #range(
    { attempt, name }: { readonly attempt: AttemptId; readonly name: string },
    at: number,
    size: number,
  ): Promise<Buffer> {
    let bytes: Buffer | undefined;
    if (isArchived(name)) bytes = await this.#archive.read(objectKey(attempt, name), at, size);
    else {
      const key = segmentKey(this.#link.instance, attempt, name);
      const found = await this.#link.read("GETRANGE", key, at, at + size - 1);
      if (Buffer.isBuffer(found) && found.length === size) bytes = found;
    }
    if (bytes !== undefined) return bytes;
    throw new HodeiError("not_found", `log of ${attempt}: there is no segment ${name}`);
  }

  get #archive(): ObjectStore {
    if (this.#objects !== undefined) return this.#objects;
    const hint = "set HODEI_LOG_ARCHIVE as it was when the log was archived";
    throw new HodeiError("unavailable", "the log is in an archive that is not set", { hint });
  }
}

/** Whether a segment is an object of the archive. */
export function isArchived(name: string): boolean {
  return name.startsWith(kinds.archive);
}

/** Batches as blocks, one after another. */
export async function packFrames(frames: readonly RawFrame[], isTail: boolean): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let at = 0;
  for (const group of groupsOf(frames)) {
    const made = await makeBlock(group, { at, isTail });
    for (const piece of made.pieces) at += piece.length;
    pieces.push(...made.pieces);
  }
  return Buffer.concat(pieces);
}

async function readBlockAt(
  source: ReadAhead,
  at: number,
): Promise<{ readonly frames: readonly Frame[] | undefined; readonly end: number } | undefined> {
  const block = parseHeader(await source.read(at, blockHeaderBytes), at);
  if (block === undefined) return undefined;
  const size = blockHeaderBytes + block.storedBytes;
  return { frames: await framesOf(await source.read(at, size), block), end: at + size };
}

function* groupsOf(frames: readonly RawFrame[]): Generator<RawFrame[]> {
  let group: RawFrame[] = [];
  let bytes = 0;
  for (const frame of frames) {
    group.push(frame);
    bytes += frame.raw.length;
    if (bytes < blockBytes) continue;
    yield group;
    group = [];
    bytes = 0;
  }
  if (group.length > 0) yield group;
}

/** Attempts' ids are random, so their first letters spread them over folders. */
function objectKey(attempt: AttemptId, name: string): string {
  return `${attempt.slice(1, 3)}/${attempt}-${name}.segment`;
}
