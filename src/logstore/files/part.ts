import { open } from "node:fs/promises";
import { promisify } from "node:util";
import { constants, crc32, zstdCompress, zstdDecompress } from "node:zlib";
import { readAt } from "./disk.ts";
import { readFrame, readMark, writeMark, type Frame, type Mark } from "./frame.ts";
import type { Entry } from "./log.ts";
import { ReadAhead } from "./read-ahead.ts";

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

/** Frames of one log, compressed together, somewhere in a file. */
export interface Block {
  readonly firstNumber: number;
  readonly lastNumber: number;
  /** Where its header begins. */
  readonly at: number;
  /** Bytes after the header. */
  readonly storedBytes: number;
  /** Bytes of the payloads of its frames, which is what the quota counts. */
  readonly payloadBytes: number;
  readonly isTail: boolean;
  readonly mark: Mark;
  readonly dropped: number;
}

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

/** Blocks are cut at about so many bytes; a reader holds one of them. */
export const blockBytes = 256 * 1024;
export const blockHeaderBytes = 128;
const magic = 0x424a4c48;
/** Below this, compressing costs more than it saves. */
const worthCompressing = 2048;

/** A frame as it stands on the disk, header and payload together. */
export interface RawFrame {
  readonly frame: Frame;
  readonly raw: Buffer;
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

/** Makes one block of frames, to be written at `at`: its header and its body. */
export async function makeBlock(
  frames: readonly RawFrame[],
  { at, isTail }: { at: number; isTail: boolean },
): Promise<{ block: Block; pieces: Buffer[] }> {
  const first = frames[0];
  const newest = frames.at(-1);
  if (first === undefined || newest === undefined) throw new Error("a block needs a frame");
  const raw = joinFrames(frames.map((frame) => frame.raw));
  const isSmall = raw.length < worthCompressing;
  const params = { [constants.ZSTD_c_compressionLevel]: 1 };
  const packed = isSmall ? raw : await compress(raw, { params });
  const isPacked = packed.length < raw.length;
  const body = isPacked ? packed : raw;
  const block: Block = {
    firstNumber: first.frame.number,
    lastNumber: newest.frame.number,
    at,
    storedBytes: body.length,
    payloadBytes: frames.reduce((sum, { frame }) => sum + frame.payload.length, 0),
    isTail,
    mark: newest.frame.mark,
    dropped: newest.frame.dropped,
  };
  return { block, pieces: [blockHeader(block, { body, codec: isPacked ? 1 : 0 }), body] };
}

/** Neighbours in the journal are neighbours in memory, and need no copy. */
function joinFrames(pieces: readonly Buffer[]): Buffer {
  const [first] = pieces;
  if (first === undefined) return Buffer.alloc(0);
  let end = first.byteOffset;
  for (const piece of pieces) {
    if (piece.buffer !== first.buffer || piece.byteOffset !== end) return Buffer.concat(pieces);
    end += piece.length;
  }
  return Buffer.from(first.buffer, first.byteOffset, end - first.byteOffset);
}

/** The frames of a block; undefined when it is damaged. */
export async function readBlock(part: Part, block: Block): Promise<Frame[] | undefined> {
  const body = bodyOf(await part.read(block), block) ?? bodyOf(await part.readAgain(block), block);
  if (body === undefined) return undefined;
  const raw = body.isPacked ? await decompress(body.bytes) : body.bytes;
  const frames: Frame[] = [];
  for (let at = 0; at < raw.length;) {
    const found = readFrame(raw, at);
    if (found.is === "unreadable") return frames;
    if (found.is === "good") frames.push(found.frame);
    at = found.end;
  }
  return frames;
}

function bodyOf(
  stored: Buffer,
  block: Block,
): { readonly bytes: Buffer; readonly isPacked: boolean } | undefined {
  if (parseHeader(stored, block.at) === undefined) return undefined;
  const bytes = stored.subarray(blockHeaderBytes);
  if (bytes.length < block.storedBytes || crc32(bytes) !== stored.readUInt32LE(8)) return undefined;
  return { bytes, isPacked: stored.readUInt32LE(16) === 1 };
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

function blockHeader(block: Block, { body, codec }: { body: Buffer; codec: number }): Buffer {
  const header = Buffer.alloc(blockHeaderBytes);
  header.writeUInt32LE(magic, 0);
  header.writeUInt32LE(crc32(body), 8);
  header.writeUInt32LE(body.length, 12);
  header.writeUInt32LE(codec, 16);
  header.writeUInt32LE(block.isTail ? 1 : 0, 20);
  header.writeDoubleLE(block.firstNumber, 24);
  header.writeDoubleLE(block.lastNumber, 32);
  writeMark(header, 40, block.mark);
  header.writeDoubleLE(block.dropped, 96);
  header.writeDoubleLE(block.payloadBytes, 104);
  header.writeUInt32LE(crc32(header.subarray(8)), 4);
  return header;
}

function parseHeader(bytes: Buffer, at: number): Block | undefined {
  if (bytes.length < blockHeaderBytes || bytes.readUInt32LE(0) !== magic) return undefined;
  if (crc32(bytes.subarray(8, blockHeaderBytes)) !== bytes.readUInt32LE(4)) return undefined;
  return {
    firstNumber: bytes.readDoubleLE(24),
    lastNumber: bytes.readDoubleLE(32),
    at,
    storedBytes: bytes.readUInt32LE(12),
    payloadBytes: bytes.readDoubleLE(104),
    isTail: bytes.readUInt32LE(20) === 1,
    mark: readMark(bytes, 40),
    dropped: bytes.readDoubleLE(96),
  };
}
