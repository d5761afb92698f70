import { HodeiError } from "#error.ts";

/** Walks protobuf fields without copying; whatever is not well formed is `invalid_argument`. */
export class WireReader {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** A varint as a number; what does not fit 2^53 is refused. */
  varint(): number {
    const { bytes } = this;
    let at = this.at;
    const first = at < this.end ? (bytes[at++] ?? 0) : malformed();
    if (first < 128) {
      this.at = at;
      return first;
    }
    let value = first & 127;
    let scale = 128;
    for (;;) {
      if (at >= this.end || scale > 2 ** 56) malformed();
      const byte = bytes[at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) break;
      scale *= 128;
    }
    if (value > Number.MAX_SAFE_INTEGER) malformed();
    this.at = at;
    return value;
  }

  /** The end of a length-delimited field that begins here. */
  block(): number {
    const length = this.varint();
    const end = this.at + length;
    if (end > this.end) malformed();
    return end;
  }

  /** Skips a field that this version does not know. */
  skip(tag: number): void {
    switch (tag & 7) {
      case 0:
        while ((this.bytes[this.at++] ?? 0) > 127) if (this.at >= this.end) malformed();
        break;
      case 1:
        this.at += 8;
        break;
      case 2:
        this.at = this.block();
        break;
      case 5:
        this.at += 4;
        break;
      default:
        malformed();
    }
    if (this.at > this.end || tag < 8) malformed();
  }
}

export function malformed(problem = "not a LogBatch"): never {
  throw new HodeiError("invalid_argument", `log batch: ${problem}`);
}

export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size++;
  return size;
}

/** Writes a varint of at most 53 bits and returns the place after it. */
export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = value;
  let to = at;
  while (rest >= 128) {
    bytes[to++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  bytes[to++] = rest;
  return to;
}
