import type { Unpacked } from "./pack.ts";

// What an unpacked value is, checked.

export function toText(value: Unpacked | undefined): string {
  if (Buffer.isBuffer(value)) return value.toString();
  throw new Error("the store holds something else where a text was written");
}

export function toNumber(value: Unpacked | undefined): number {
  if (typeof value === "number") return value;
  throw new Error("the store holds something else where a number was written");
}

export function toBytes(value: Unpacked | undefined): Uint8Array {
  if (Buffer.isBuffer(value)) return new Uint8Array(value);
  throw new Error("the store holds something else where bytes were written");
}

export function toList(value: Unpacked | undefined): Unpacked[] {
  if (Array.isArray(value)) return value;
  throw new Error("the store holds something else where a list was written");
}

export function maybeText(value: Unpacked | undefined): string | undefined {
  return isAbsent(value) ? undefined : toText(value);
}

export function maybeNumber(value: Unpacked | undefined): number | undefined {
  return isAbsent(value) ? undefined : toNumber(value);
}

export function maybeBytes(value: Unpacked | undefined): Uint8Array | undefined {
  return isAbsent(value) ? undefined : toBytes(value);
}

/** What was packed as JSON text. */
export function maybeJson(value: Unpacked | undefined): unknown {
  return isAbsent(value) ? undefined : (JSON.parse(toText(value)) as unknown);
}

export function isAbsent(value: Unpacked | undefined): boolean {
  return value === undefined || value === false;
}
