import { promisify } from "node:util";
import { constants, crc32, zstdCompress, zstdDecompress } from "node:zlib";
import { readFrame, readMark, writeMark, type Frame, type Mark } from "./frame.ts";

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
  /** Whose log it is, as a number; 0 or undefined: nobody said. */
  readonly tenant?: number;
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

/** Makes one block of frames, to be written at `at`: its header and its body. `dropped`: what the quota has removed by now, if that is known to be more than the frames say. */
export async function makeBlock(
  frames: readonly RawFrame[],
  { at, isTail, dropped = 0 }: { at: number; isTail: boolean; dropped?: number },
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
    dropped: Math.max(dropped, newest.frame.dropped),
    tenant: newest.frame.tenant ?? 0,
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

/** The frames of a block as it stands there, with its header; undefined when it is damaged. */
export async function framesOf(stored: Buffer, block: Block): Promise<Frame[] | undefined> {
  const body = bodyOf(stored, block);
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
  header.writeUInt32LE(block.tenant ?? 0, 112);
  header.writeUInt32LE(crc32(header.subarray(8)), 4);
  return header;
}

/** The block whose header begins `bytes`, which stand at `at`; undefined: none does. */
export function parseHeader(bytes: Buffer, at: number): Block | undefined {
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
    tenant: bytes.readUInt32LE(112),
  };
}
