import { open } from "node:fs/promises";
import {
  blockBytes,
  blockHeaderBytes,
  framesOf,
  parseHeader,
  type Block,
  type RawFrame,
} from "#logstore/frames/block.ts";
import { readFrame, type Frame } from "#logstore/frames/frame.ts";
import { ReadAhead } from "#logstore/frames/read-ahead.ts";
import { readAt } from "./disk.ts";
import type { Entry } from "./log.ts";

/** Blocks of one log in one file, oldest first. */
export class Part {
  readonly path: string;
  readonly blocks: Block[];
  readonly #source: ReadAhead;

  constructor(path: string, blocks: Block[], source?: ReadAhead) {
    this.path = path;
    this.blocks = blocks;
    this.#source = source ?? fileSource(path);
  }

  get isTail(): boolean {
    return this.blocks[0]?.isTail ?? false;
  }

  get firstNumber(): number {
    return this.blocks[0]?.firstNumber ?? 0;
  }

  get lastNumber(): number {
    return this.blocks.at(-1)?.lastNumber ?? 0;
  }

  get payloadBytes(): number {
    return this.blocks.reduce((sum, block) => sum + block.payloadBytes, 0);
  }

  /** A block with its header, as it stands there. */
  read(block: Block): Promise<Buffer> {
    return this.#source.read(block.at, blockHeaderBytes + block.storedBytes);
  }

  /** Reads it once more, where that may help. */
  readAgain(block: Block): Promise<Buffer> {
    this.#source.forget();
    return this.read(block);
  }

  /** Size of the file up to the last block. */
  get bytes(): number {
    const newest = this.blocks.at(-1);
    return newest === undefined ? 0 : newest.at + blockHeaderBytes + newest.storedBytes;
  }
}

/** Frames that were read together. */
export interface Gathered {
  readonly found: ReadonlyMap<Entry, RawFrame>;
  /** Gives their memory back, when nobody looks at them any more: moving logs would otherwise keep the garbage collector busy. */
  free(): void;
}

/** Reads entries of the journal, neighbours together. Damaged ones are left out, and so become a gap. */
export async function gatherFrames(entries: readonly Entry[]): Promise<Gathered> {
  const sorted = entries.toSorted(
    (left, right) => left.segment.number - right.segment.number || left.at - right.at,
  );
  const found = new Map<Entry, RawFrame>();
  const buffers: ArrayBufferLike[] = [];
  for (let from = 0; from < sorted.length;) {
    const first = sorted[from];
    if (first === undefined) break;
    let to = from;
    let end = first.at;
    for (let next: Entry | undefined = first; next !== undefined; next = sorted[to]) {
      const isNear = next.segment === first.segment && next.at - end < blockBytes / 4;
      if (!isNear || (to > from && end - first.at > 8 * blockBytes)) break;
      end = next.at + entryBytes(next);
      to++;
    }
    const bytes = await first.segment.read(first.at, end - first.at);
    buffers.push(bytes.buffer);
    for (const entry of sorted.slice(from, to)) {
      const at = entry.at - first.at;
      const here = readFrame(bytes, at);
      if (here.is !== "good") continue;
      found.set(entry, { frame: here.frame, raw: bytes.subarray(at, here.end) });
    }
    from = to;
  }
  const free = () => {
    for (const buffer of buffers) if (buffer instanceof ArrayBuffer) buffer.transfer(0);
  };
  return { found, free };
}

/** Bytes of an entry with its header. */
export function entryBytes(entry: Entry): number {
  return entry.payloadBytes + 120;
}

/** The frames of a block; undefined when it is damaged. */
export async function readBlock(part: Part, block: Block): Promise<Frame[] | undefined> {
  const frames = await framesOf(await part.read(block), block);
  return frames ?? framesOf(await part.readAgain(block), block);
}

function fileSource(path: string): ReadAhead {
  const read = async (at: number, size: number): Promise<Buffer> => {
    await using file = await open(path, "r");
    return readAt(file, at, size);
  };
  return new ReadAhead({ read, endAt: 0, isElsewhere: () => false });
}

/** Reads the headers of a part that an earlier process wrote, and leaves out an end that is not whole. */
export async function loadPart(path: string): Promise<Part> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  const blocks: Block[] = [];
  for (let at = 0; at + blockHeaderBytes <= size;) {
    const block = parseHeader(await readAt(file, at, blockHeaderBytes), at);
    if (block === undefined) break;
    at += blockHeaderBytes + block.storedBytes;
    if (at <= size) blocks.push(block);
  }
  const newest = blocks.at(-1);
  // Only the newest block can have been under way when the process ended.
  const part = new Part(path, blocks);
  if (newest !== undefined && (await readBlock(part, newest)) === undefined) blocks.pop();
  return part;
}
