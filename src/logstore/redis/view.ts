import { noMark, readMark, writeMark, type Mark } from "#logstore/frames/frame.ts";
import type { ReadableLog } from "#logstore/frames/cursor.ts";
import type { LogEnd } from "#logstore/logstore.ts";
import type { Sequences } from "#log/record.ts";

/** A batch, and the totals of its log up to and with it. */
export interface Head {
  readonly number: number;
  readonly mark: Mark;
}

export const noHead: Head = { number: 0, mark: noMark };

/** Batches that were sealed together. */
export interface Segment {
  readonly first: number;
  readonly last: number;
  /** Behind the part of the quota that is never given up. */
  readonly isTail: boolean;
  /** Of its batches, which is what the quota counts. */
  readonly payloadBytes: number;
  /** As it is stored. */
  readonly bytes: number;
  /** Last records up to and with it. */
  readonly lastRecords: Sequences;
  readonly name: string;
}

/** What Redis knows of a log, at one moment. */
export interface LogView extends ReadableLog {
  readonly durable: Head;
  readonly tenant: string;
  /** How it ended, as it stands there. */
  readonly endText: string | undefined;
  /** Up to this batch everything is in segments, or dropped. */
  readonly sealed: SealedUpTo;
}

export interface SealedUpTo {
  readonly number: number;
  readonly stored: number;
}

/** A view with the segments, oldest first, and what is to be deleted. */
export interface WholeView extends LogView {
  readonly segments: readonly Segment[];
  readonly garbage: readonly string[];
  /** Name of the segment that somebody is about to store. */
  readonly claim: string | undefined;
}

/** The fields of a `LogView`, in the order of `parseView`. */
export const viewFields = ["h", "n", "e", "t", "d"] as const;

export function packHead({ number, mark }: Head): Buffer {
  if (number === 0) return Buffer.alloc(0);
  const bytes = Buffer.alloc(64);
  bytes.writeDoubleLE(number, 0);
  writeMark(bytes, 8, mark);
  return bytes;
}

export function parseHead(bytes: Buffer): Head {
  if (bytes.length === 0) return noHead;
  if (bytes.length !== 64) throw new Error("Redis holds something else where a log's state was");
  return { number: bytes.readDoubleLE(0), mark: readMark(bytes, 8) };
}

/** Undefined when there is no log. */
export function parseView([head, tenant, end, sealed, dropped]: readonly (Buffer | undefined)[]):
  LogView | undefined {
  if (head === undefined && end === undefined) return undefined;
  const [number = 0, stored = 0] = (sealed?.toString() ?? "").split(" ").map(Number);
  return {
    durable: head === undefined ? noHead : parseHead(head),
    tenant: tenant?.toString() ?? "",
    endText: end?.toString(),
    // Its own kind wrote it.
    end: end === undefined ? undefined : (JSON.parse(end.toString()) as LogEnd),
    sealed: { number, stored },
    dropped: Number(dropped?.toString() ?? "0"),
  };
}

export function parseWholeView(fields: ReadonlyMap<string, Buffer>): WholeView | undefined {
  const view = parseView(viewFields.map((name) => fields.get(name)));
  if (view === undefined) return undefined;
  const segments: Segment[] = [];
  const garbage: string[] = [];
  for (const [field, value] of fields) {
    if (field.startsWith("g")) garbage.push(field.slice(1));
    if (field.startsWith("s")) segments.push(parseSegment(field, value));
  }
  segments.sort((left, right) => left.first - right.first);
  return { ...view, segments, garbage, claim: fields.get("i")?.toString().split(" ")[1] };
}

export function segmentField({ first }: Pick<Segment, "first">): string {
  return `s${first}`;
}

export function packSegment(segment: Segment): string {
  const { last, isTail, payloadBytes, bytes, lastRecords, name } = segment;
  const { stdout, stderr, system } = lastRecords;
  const sizes = [last, isTail ? 1 : 0, payloadBytes, bytes, stdout, stderr, system];
  return `${sizes.join(" ")} ${name}`;
}

function parseSegment(field: string, value: Buffer): Segment {
  const [last, tail, payloadBytes, bytes, stdout, stderr, system, name = ""] = value
    .toString()
    .split(" ");
  const lastRecords = {
    stdout: Number(stdout),
    stderr: Number(stderr),
    system: Number(system),
  };
  return {
    first: Number(field.slice(1)),
    last: Number(last),
    isTail: tail === "1",
    payloadBytes: Number(payloadBytes),
    bytes: Number(bytes),
    lastRecords,
    name,
  };
}
