import {
  logLimits,
  logStreams,
  type GapReason,
  type LogChunk,
  type LogGap,
  type LogStream,
  type Sequences,
} from "./record.ts";
import { malformed, varintSize, WireReader, writeVarint } from "./wire.ts";

/** What a batch holds, without its records. A gap counts as its records, one of unknown size as one. */
export interface BatchScan {
  /** First record of each stream; zero: none of that stream. */
  readonly first: Sequences;
  /** Last record of each stream; zero: none of that stream. */
  readonly last: Sequences;
  /** Bytes of records of each stream. */
  readonly bytes: Sequences;
  readonly records: number;
  readonly dataBytes: number;
}

/** A chunk whose data may lie in several pieces, which are joined in the encoded batch. */
export type ChunkParts = Omit<LogChunk, "data"> & { readonly parts: readonly Uint8Array[] };

/** Gives the same bytes as any protobuf encoder that writes fields in order. */
export function encodeBatch(chunks: readonly LogChunk[]): Uint8Array {
  return encodeParts(chunks.map((chunk) => ({ ...chunk, parts: [chunk.data] })));
}

/** `encodeBatch` for data in pieces; they are copied once, into the batch. */
export function encodeParts(chunks: readonly ChunkParts[]): Uint8Array {
  const measures = chunks.map(measure);
  const size = measures.reduce((sum, { total }) => sum + 1 + varintSize(total) + total, 0);
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  chunks.forEach((chunk, index) => {
    const sizes = measures[index];
    if (sizes !== undefined) at = writeChunk(bytes, at, { chunk, sizes });
  });
  return bytes;
}

/** Refuses what is no LogBatch with `invalid_argument`. The data of the chunks are views of `bytes`. */
export function decodeBatch(bytes: Uint8Array): LogChunk[] {
  const chunks: LogChunk[] = [];
  eachChunk(bytes, (reader) => {
    const lengths: number[] = [];
    const timeOffsets: number[] = [];
    const fields = readChunk(reader, { lengths, timeOffsets });
    chunks.push({
      stream: fields.stream,
      firstSequence: fields.firstSequence,
      timeMicros: fields.timeMicros,
      timeOffsets,
      lengths,
      data: bytes.subarray(fields.dataAt, fields.dataAt + fields.dataBytes),
      gap: fields.gap,
    });
  });
  return chunks;
}

/** Checks a batch, its limits and the order of its records without copying; `invalid_argument` when it may not be stored. */
export function scanBatch(bytes: Uint8Array): BatchScan {
  const first = { stdout: 0, stderr: 0, system: 0 };
  const last = { stdout: 0, stderr: 0, system: 0 };
  const perStream = { stdout: 0, stderr: 0, system: 0 };
  let records = 0;
  let dataBytes = 0;
  eachChunk(bytes, (reader) => {
    const { stream, firstSequence, ...chunk } = readChunk(reader, undefined);
    const span = spanOf(chunk.gap, chunk.records);
    if (first[stream] === 0) first[stream] = firstSequence;
    else if (firstSequence !== last[stream] + 1) malformed(`${stream} is not consecutive`);
    last[stream] = firstSequence + span - 1;
    if (last[stream] > Number.MAX_SAFE_INTEGER) malformed("sequence is too large");
    perStream[stream] += chunk.dataBytes;
    dataBytes += chunk.dataBytes;
    records += chunk.records;
  });
  if (dataBytes > logLimits.batchBytes) malformed(`more than ${logLimits.batchBytes} bytes`);
  if (records > logLimits.batchRecords) malformed(`more than ${logLimits.batchRecords} records`);
  return { first, last, bytes: perStream, records, dataBytes };
}

/** What is wanted of a batch. */
export interface BatchSlice {
  readonly after: Sequences;
  readonly stream?: LogStream | undefined;
}

/** The records of a batch after `after`: the same bytes when none is cut, undefined when none is left. */
export function sliceBatch(bytes: Uint8Array, wanted: BatchSlice): Uint8Array | undefined {
  const { first, last } = scanBatch(bytes);
  const cut = logStreams.filter((name) => first[name] !== 0 && !isWhole(name));
  if (cut.length === 0) return logStreams.some((name) => last[name] !== 0) ? bytes : undefined;
  if (logStreams.every((name) => last[name] === 0 || isGone(name))) return undefined;
  return encodeBatch(decodeBatch(bytes).flatMap((chunk) => cutChunk(chunk, wanted) ?? []));

  function isWhole(name: LogStream): boolean {
    return first[name] > wanted.after[name] && (wanted.stream ?? name) === name;
  }
  function isGone(name: LogStream): boolean {
    return last[name] <= wanted.after[name] || (wanted.stream ?? name) !== name;
  }
}

/** How many sequence numbers a chunk takes. A gap of unknown size takes one, so that a cursor can stand behind it. */
export function chunkSpan(chunk: Pick<LogChunk, "gap" | "lengths">): number {
  return spanOf(chunk.gap, chunk.lengths.length);
}

/** A gap in the place of records. */
export function gapChunk(stream: LogStream, firstSequence: number, gap: LogGap): LogChunk {
  const data = new Uint8Array(0);
  return { stream, firstSequence, timeMicros: 0, timeOffsets: [], lengths: [], data, gap };
}

function spanOf(gap: LogGap | undefined, records: number): number {
  return gap === undefined ? records : Math.max(1, gap.records);
}

function cutChunk(chunk: LogChunk, wanted: BatchSlice): LogChunk | undefined {
  if ((wanted.stream ?? chunk.stream) !== chunk.stream) return undefined;
  const skip = wanted.after[chunk.stream] + 1 - chunk.firstSequence;
  if (skip <= 0) return chunk;
  if (skip >= chunkSpan(chunk)) return undefined;
  const firstSequence = chunk.firstSequence + skip;
  if (chunk.gap !== undefined) {
    const gap = { records: chunk.gap.records - skip, bytes: 0, reason: chunk.gap.reason };
    return { ...chunk, firstSequence, gap };
  }
  let from = 0;
  for (let at = 0; at < skip; at++) from += chunk.lengths[at] ?? 0;
  return {
    ...chunk,
    firstSequence,
    timeOffsets: chunk.timeOffsets.slice(skip),
    lengths: chunk.lengths.slice(skip),
    data: chunk.data.subarray(from),
  };
}

interface ChunkFields {
  stream: LogStream;
  firstSequence: number;
  timeMicros: number;
  records: number;
  dataAt: number;
  dataBytes: number;
  gap: LogGap | undefined;
}

interface Lists {
  readonly lengths: number[];
  readonly timeOffsets: number[];
}

function eachChunk(bytes: Uint8Array, step: (reader: WireReader) => void): void {
  const reader = new WireReader(bytes);
  while (reader.at < reader.end) {
    const tag = reader.varint();
    if (tag !== 10) {
      reader.skip(tag);
      continue;
    }
    const end = reader.block();
    step(new WireReader(bytes, reader.at, end));
    reader.at = end;
  }
}

/** Reads one chunk and checks that it is whole; `into` receives its lists, which a scan does not need. */
function readChunk(reader: WireReader, into: Lists | undefined): ChunkFields {
  let stream = 0;
  const fields = { firstSequence: 0, timeMicros: 0, records: 0, dataAt: 0, dataBytes: 0 };
  let gap: LogGap | undefined;
  let offsets = 0;
  let sum = 0;
  while (reader.at < reader.end) {
    const tag = reader.varint();
    if (tag === 8) stream = reader.varint();
    else if (tag === 16) fields.firstSequence = reader.varint();
    else if (tag === 24) fields.timeMicros = reader.varint();
    else if (tag === 32 || tag === 34) {
      const end = tag === 34 ? reader.block() : reader.at + 1;
      for (; reader.at < end; offsets++) {
        const micros = reader.varint();
        if (into !== undefined) into.timeOffsets.push(micros);
      }
    } else if (tag === 40 || tag === 42) {
      const end = tag === 42 ? reader.block() : reader.at + 1;
      for (; reader.at < end; fields.records++) {
        const bytes = reader.varint();
        if (bytes > logLimits.recordBytes) malformed("a record is too long");
        sum += bytes;
        if (into !== undefined) into.lengths.push(bytes);
      }
    } else if (tag === 50) {
      const end = reader.block();
      fields.dataAt = reader.at;
      fields.dataBytes = end - reader.at;
      reader.at = end;
    } else if (tag === 58) gap = readGap(reader);
    else reader.skip(tag);
  }
  const name = logStreams[stream - 1];
  if (name === undefined) malformed("unknown stream");
  if (fields.firstSequence < 1) malformed("sequences count from 1");
  if (sum !== fields.dataBytes) malformed("lengths do not match the data");
  if (offsets !== 0 && offsets !== fields.records) malformed("offsets do not match the records");
  if ((gap === undefined) === (fields.records === 0)) malformed("a chunk is records or a gap");
  return { stream: name, ...fields, gap };
}

const gapReasons: readonly GapReason[] = ["quota", "lost", "expired", "corrupt"];

function readGap(reader: WireReader): LogGap {
  const end = reader.block();
  let records = 0;
  let bytes = 0;
  let reason = 0;
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag === 8) records = reader.varint();
    else if (tag === 16) bytes = reader.varint();
    else if (tag === 24) reason = reader.varint();
    else reader.skip(tag);
  }
  if (reader.at !== end) malformed();
  return { records, bytes, reason: gapReasons[reason - 1] ?? "lost" };
}

interface ChunkSizes {
  readonly total: number;
  readonly offsets: number;
  readonly lengths: number;
  readonly data: number;
}

function measure(chunk: ChunkParts): ChunkSizes {
  const offsets = chunk.timeOffsets.reduce((sum, value) => sum + varintSize(value), 0);
  const lengths = chunk.lengths.reduce((sum, value) => sum + varintSize(value), 0);
  const data = chunk.parts.reduce((sum, part) => sum + part.length, 0);
  const block = (size: number) => (size === 0 ? 0 : 1 + varintSize(size) + size);
  const total =
    2 +
    numberSize(chunk.firstSequence) +
    numberSize(chunk.timeMicros) +
    block(offsets) +
    block(lengths) +
    block(data) +
    (chunk.gap === undefined ? 0 : 2 + gapSize(chunk.gap));
  return { total, offsets, lengths, data };
}

interface Measured {
  readonly chunk: ChunkParts;
  readonly sizes: ChunkSizes;
}

function writeChunk(bytes: Buffer, start: number, { chunk, sizes }: Measured): number {
  let at = writeNumber(bytes, start, [10, sizes.total]);
  at = writeNumber(bytes, at, [8, logStreams.indexOf(chunk.stream) + 1]);
  if (chunk.firstSequence !== 0) at = writeNumber(bytes, at, [16, chunk.firstSequence]);
  if (chunk.timeMicros !== 0) at = writeNumber(bytes, at, [24, chunk.timeMicros]);
  if (sizes.offsets !== 0) {
    at = writeNumber(bytes, at, [34, sizes.offsets]);
    for (const value of chunk.timeOffsets) at = writeVarint(bytes, at, value);
  }
  if (sizes.lengths !== 0) {
    at = writeNumber(bytes, at, [42, sizes.lengths]);
    for (const value of chunk.lengths) at = writeVarint(bytes, at, value);
  }
  if (sizes.data !== 0) {
    at = writeNumber(bytes, at, [50, sizes.data]);
    for (const part of chunk.parts) {
      bytes.set(part, at);
      at += part.length;
    }
  }
  if (chunk.gap === undefined) return at;
  const { records, bytes: missing, reason } = chunk.gap;
  at = writeNumber(bytes, at, [58, gapSize(chunk.gap)]);
  if (records !== 0) at = writeNumber(bytes, at, [8, records]);
  if (missing !== 0) at = writeNumber(bytes, at, [16, missing]);
  return writeNumber(bytes, at, [24, gapReasons.indexOf(reason) + 1]);
}

function writeNumber(bytes: Buffer, at: number, [tag, value]: readonly [number, number]): number {
  bytes[at] = tag;
  return writeVarint(bytes, at + 1, value);
}

function numberSize(value: number): number {
  return value === 0 ? 0 : 1 + varintSize(value);
}

function gapSize({ records, bytes }: LogGap): number {
  return numberSize(records) + numberSize(bytes) + 2;
}
