import { crc32 } from "node:zlib";
import type { BatchScan } from "#log/batch.ts";
import { logStreams, noSequences, type GapReason, type Sequences } from "#log/record.ts";
import type { AttemptId } from "#job/id.ts";

/**
 * A frame is what the journal and the archive hold: a header that stands on its own, and one batch as it came. The header carries the
 * totals of its log up to and with this batch, so that whatever is lost before it can be told exactly: how many records of which stream, how many bytes.
 *
 *  0 magic · 4 crc of the rest of the header · 8 crc of the payload · 12 bytes of the payload · 16 kind · 17 attempt
 * 44 of an end: its gap and expiry again, see `EndNote`; of a batch: its tenant · 48 number · 56 last record of each stream · 80 bytes of each stream · 104 bytes of all payloads · 112 dropped
 */
export interface Frame {
  readonly kind: FrameKind;
  readonly attempt: AttemptId;
  /** Number of the batch; in an `end`, of the last one. */
  readonly number: number;
  readonly mark: Mark;
  /** Number of the newest batch that the quota had removed when this was written. */
  readonly dropped: number;
  readonly payload: Uint8Array;
  /** In a batch: whose log it is, as a number; undefined: nobody said. */
  readonly tenant?: number;
  /** What the payload holds, where that is known already. */
  readonly scan?: BatchScan;
  /** In an `end`: what its payload says too, so that damage to one of them loses nothing. */
  readonly note?: EndNote;
}

export type FrameKind = "batch" | "end";

/** What ends a log, in 32 bits: three of the gap's reason, and the expiry in minutes, rounded up so that it is never early. */
export interface EndNote {
  readonly expiresAt: number;
  readonly missing?: GapReason;
}

/** Totals of a log up to and with a batch. */
export interface Mark {
  readonly last: Sequences;
  readonly bytes: Sequences;
  /** Bytes of all payloads, which is what the quota counts. */
  readonly stored: number;
}

export const noMark: Mark = { last: noSequences, bytes: noSequences, stored: 0 };

export const headerBytes = 120;
const magic = 0x314a4c48;
/** A batch has at most 128 KiB of data and less than that of everything else. */
const longestPayload = 1024 * 1024;

/** What stands at a place: a frame, one whose payload is damaged, or nothing that can be read. */
export type FoundFrame =
  | { readonly is: "good"; readonly frame: Frame; readonly end: number }
  | { readonly is: "damaged"; readonly frame: Frame; readonly end: number }
  | { readonly is: "unreadable" };

const kinds: readonly FrameKind[] = ["batch", "end"];

/** Writes the header of a frame at the beginning of `header`. */
export function writeHeader(header: Buffer, frame: Frame): void {
  header.writeUInt32LE(magic, 0);
  header.writeUInt32LE(crc32(frame.payload), 8);
  header.writeUInt32LE(frame.payload.length, 12);
  header[16] = kinds.indexOf(frame.kind) + 1;
  header.write(frame.attempt, 17, 27, "latin1");
  header.writeUInt32LE(frame.kind === "end" ? packNote(frame.note) : (frame.tenant ?? 0), 44);
  header.writeDoubleLE(frame.number, 48);
  writeMark(header, 56, frame.mark);
  header.writeDoubleLE(frame.dropped, 112);
  header.writeUInt32LE(crc32(header.subarray(8, headerBytes)), 4);
}

/** Reads and checks the frame at `at`. The payload is a view. */
export function readFrame(bytes: Buffer, at: number): FoundFrame {
  const header = readHeader(bytes, at);
  const end = at + headerBytes + (header?.payloadBytes ?? 0);
  if (header === undefined || end > bytes.length) return { is: "unreadable" };
  const payload = bytes.subarray(at + headerBytes, end);
  const isGood = crc32(payload) === header.payloadCrc;
  return { is: isGood ? "good" : "damaged", frame: { ...header.frame, payload }, end };
}

/** The frame of a header and a payload that stand apart; undefined when they are damaged, or do not belong together. */
export function joinFrame(header: Buffer, payload: Buffer): Frame | undefined {
  const found = readHeader(header, 0);
  if (found === undefined || found.payloadBytes !== payload.length) return undefined;
  return crc32(payload) === found.payloadCrc ? { ...found.frame, payload } : undefined;
}

interface FoundHeader {
  readonly frame: Omit<Frame, "payload">;
  readonly payloadBytes: number;
  readonly payloadCrc: number;
}

function readHeader(bytes: Buffer, at: number): FoundHeader | undefined {
  if (at + headerBytes > bytes.length || bytes.readUInt32LE(at) !== magic) return undefined;
  if (crc32(bytes.subarray(at + 8, at + headerBytes)) !== bytes.readUInt32LE(at + 4)) {
    return undefined;
  }
  const payloadBytes = bytes.readUInt32LE(at + 12);
  const kind = kinds[(bytes[at + 16] ?? 0) - 1];
  if (payloadBytes > longestPayload || kind === undefined) return undefined;
  const bits = bytes.readUInt32LE(at + 44);
  const frame = {
    kind,
    attempt: bytes.toString("latin1", at + 17, at + 44) as AttemptId,
    number: bytes.readDoubleLE(at + 48),
    mark: readMark(bytes, at + 56),
    dropped: bytes.readDoubleLE(at + 112),
    ...(kind === "end" ? unpackNote(bits) : unpackTenant(bits)),
  };
  return { frame, payloadBytes, payloadCrc: bytes.readUInt32LE(at + 8) };
}

const minuteMs = 60_000;
/** The year 2990 and later are one minute. */
const mostMinutes = 2 ** 29 - 1;
const noteReasons: readonly (GapReason | undefined)[] = [
  undefined,
  "quota",
  "lost",
  "expired",
  "corrupt",
];

function packNote(note: EndNote | undefined): number {
  if (note === undefined) return 0;
  const minutes = Math.min(mostMinutes, Math.max(0, Math.ceil(note.expiresAt / minuteMs)));
  return noteReasons.indexOf(note.missing) * (mostMinutes + 1) + minutes;
}

function unpackNote(bits: number): { readonly note?: EndNote } {
  if (bits === 0) return {};
  const expiresAt = (bits % (mostMinutes + 1)) * minuteMs;
  const missing = noteReasons[Math.floor(bits / (mostMinutes + 1))];
  return { note: missing === undefined ? { expiresAt } : { expiresAt, missing } };
}

function unpackTenant(bits: number): { readonly tenant?: number } {
  return bits === 0 ? {} : { tenant: bits };
}

/** The next place from `at` on where a frame's header can be read; undefined: none. */
export function findFrame(bytes: Buffer, at: number): number | undefined {
  const wanted = Buffer.alloc(4);
  wanted.writeUInt32LE(magic);
  for (let place = bytes.indexOf(wanted, at); place !== -1;) {
    if (readFrame(bytes, place).is !== "unreadable") return place;
    place = bytes.indexOf(wanted, place + 1);
  }
  return undefined;
}

/** The totals after a batch. */
export function markAfter(mark: Mark, scan: BatchScan, payloadBytes: number): Mark {
  const { last, bytes } = mark;
  return {
    last: {
      stdout: scan.last.stdout || last.stdout,
      stderr: scan.last.stderr || last.stderr,
      system: scan.last.system || last.system,
    },
    bytes: {
      stdout: bytes.stdout + scan.bytes.stdout,
      stderr: bytes.stderr + scan.bytes.stderr,
      system: bytes.system + scan.bytes.system,
    },
    stored: mark.stored + payloadBytes,
  };
}

/** The totals before a batch, from those after it. */
export function markBefore(frame: Frame, scan: BatchScan): Mark {
  const { last, bytes, stored } = frame.mark;
  const before = { stdout: 0, stderr: 0, system: 0 };
  const bytesBefore = { stdout: 0, stderr: 0, system: 0 };
  for (const name of logStreams) {
    before[name] = scan.first[name] === 0 ? last[name] : scan.first[name] - 1;
    bytesBefore[name] = bytes[name] - scan.bytes[name];
  }
  return { last: before, bytes: bytesBefore, stored: stored - frame.payload.length };
}

export function writeMark(bytes: Buffer, at: number, { last, bytes: sums, stored }: Mark): void {
  bytes.writeDoubleLE(last.stdout, at);
  bytes.writeDoubleLE(last.stderr, at + 8);
  bytes.writeDoubleLE(last.system, at + 16);
  bytes.writeDoubleLE(sums.stdout, at + 24);
  bytes.writeDoubleLE(sums.stderr, at + 32);
  bytes.writeDoubleLE(sums.system, at + 40);
  bytes.writeDoubleLE(stored, at + 48);
}

export function readMark(bytes: Buffer, at: number): Mark {
  const three = (from: number): Sequences => ({
    stdout: bytes.readDoubleLE(from),
    stderr: bytes.readDoubleLE(from + 8),
    system: bytes.readDoubleLE(from + 16),
  });
  return { last: three(at), bytes: three(at + 24), stored: bytes.readDoubleLE(at + 48) };
}
