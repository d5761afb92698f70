/**
 * MessagePack as Redis' scripts write and read it (`cmsgpack`): numbers, texts, booleans and lists. Absence is `false`, since a Lua list has no holes.
 * Texts come back as bytes; who reads them knows what they are.
 */
export type Packable =
  string | number | boolean | undefined | Uint8Array | readonly Packable[] | Packed;

/** Bytes that are packed already. */
export class Packed {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

export type Unpacked = number | boolean | Buffer | Unpacked[];

/** The values behind each other. */
export function pack(...values: readonly Packable[]): Buffer {
  const writer = new Writer();
  for (const value of values) writer.write(value);
  return writer.take();
}

/** All the values that lie behind each other. */
export function unpack(bytes: Buffer): Unpacked[] {
  const reader = new Reader(bytes);
  const values: Unpacked[] = [];
  while (reader.at < bytes.length) values.push(reader.read());
  return values;
}

const startBytes = 512;

class Writer {
  #bytes = Buffer.allocUnsafe(startBytes);
  #at = 0;

  take(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }

  write(value: Packable): void {
    if (typeof value === "string") this.#writeText(value);
    else if (typeof value === "number") this.#writeNumber(value);
    else if (value === undefined || typeof value === "boolean") {
      this.#room(1);
      this.#bytes[this.#at++] = value === true ? 0xc3 : 0xc2;
    } else if (value instanceof Uint8Array) this.#writeBytes(value);
    else if (value instanceof Packed) this.#append(value.bytes);
    else {
      this.#writeHead(value.length, { fixed: 0x90, most: 15, wide: [0, 0xdc, 0xdd] });
      for (const item of value) this.write(item);
    }
  }

  #writeText(text: string): void {
    if (text.length > 10) return this.#writeBytes(Buffer.from(text));
    const size = Buffer.byteLength(text);
    this.#writeHead(size, texts);
    this.#room(size);
    this.#at += this.#bytes.write(text, this.#at);
  }

  #writeBytes(bytes: Uint8Array): void {
    this.#writeHead(bytes.length, texts);
    this.#append(bytes);
  }

  #append(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #writeHead(size: number, { fixed, most, wide }: Head): void {
    this.#room(5);
    if (size <= most) this.#bytes[this.#at++] = fixed | size;
    else if (size < 0x100 && wide[0] !== 0) {
      this.#bytes[this.#at++] = wide[0];
      this.#bytes[this.#at++] = size;
    } else if (size < 0x10000) {
      this.#bytes[this.#at++] = wide[1];
      this.#at = this.#bytes.writeUInt16BE(size, this.#at);
    } else {
      this.#bytes[this.#at++] = wide[2];
      this.#at = this.#bytes.writeUInt32BE(size, this.#at);
    }
  }

  #writeNumber(value: number): void {
    this.#room(9);
    if (!Number.isSafeInteger(value)) {
      this.#bytes[this.#at++] = 0xcb;
      this.#at = this.#bytes.writeDoubleBE(value, this.#at);
    } else if (value >= 0 && value < 0x80) {
      this.#bytes[this.#at++] = value;
    } else if (value >= 0 && value <= 0xffffffff) {
      this.#bytes[this.#at++] = 0xce;
      this.#at = this.#bytes.writeUInt32BE(value, this.#at);
    } else {
      const high = Math.floor(value / 0x100000000);
      this.#bytes[this.#at++] = 0xd3;
      this.#at = this.#bytes.writeInt32BE(high, this.#at);
      this.#at = this.#bytes.writeUInt32BE(value - high * 0x100000000, this.#at);
    }
  }

  #room(size: number): void {
    if (this.#at + size <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + size));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
  }
}

interface Head {
  readonly fixed: number;
  readonly most: number;
  readonly wide: readonly [number, number, number];
}

const texts: Head = { fixed: 0xa0, most: 31, wide: [0xd9, 0xda, 0xdb] };

class Reader {
  at = 0;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  read(): Unpacked {
    const tag = this.#unsigned(1);
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.#map(tag & 0x0f);
    if (tag < 0xa0) return this.#list(tag & 0x0f);
    if (tag < 0xc0) return this.#take(tag & 0x1f);
    if (tag >= 0xe0) return tag - 0x100;
    if (tag >= 0xcc && tag <= 0xcf) return this.#unsigned(2 ** (tag - 0xcc));
    if (tag >= 0xd0 && tag <= 0xd3) return this.#signed(2 ** (tag - 0xd0));
    if (tag >= 0xd9 && tag <= 0xdb) return this.#take(this.#unsigned(2 ** (tag - 0xd9)));
    if (tag >= 0xc4 && tag <= 0xc6) return this.#take(this.#unsigned(2 ** (tag - 0xc4)));
    switch (tag) {
      case 0xc0:
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xca:
        this.at += 4;
        return this.#bytes.readFloatBE(this.at - 4);
      case 0xcb:
        this.at += 8;
        return this.#bytes.readDoubleBE(this.at - 8);
      case 0xdc:
        return this.#list(this.#unsigned(2));
      case 0xdd:
        return this.#list(this.#unsigned(4));
      default:
        throw new Error(`the store holds bytes that are not its own (${tag})`);
    }
  }

  #unsigned(size: number): number {
    this.at += size;
    if (size <= 4) return this.#bytes.readUIntBE(this.at - size, size);
    return this.#wide(this.#bytes.readUInt32BE(this.at - 8));
  }

  #signed(size: number): number {
    this.at += size;
    if (size <= 4) return this.#bytes.readIntBE(this.at - size, size);
    return this.#wide(this.#bytes.readInt32BE(this.at - 8));
  }

  #wide(high: number): number {
    return high * 0x100000000 + this.#bytes.readUInt32BE(this.at - 4);
  }

  #take(size: number): Buffer {
    this.at += size;
    return this.#bytes.subarray(this.at - size, this.at);
  }

  #list(size: number): Unpacked[] {
    const list: Unpacked[] = [];
    for (let count = 0; count < size; count++) list.push(this.read());
    return list;
  }

  /** An empty Lua table may have been taken for a map. */
  #map(size: number): Unpacked[] {
    if (size > 0) throw new Error("the store holds a map where a list was written");
    return [];
  }
}
