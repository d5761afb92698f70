/** Reads exactly so many bytes from a place. */
export type ReadRange = (at: number, size: number) => Promise<Buffer>;

export interface ReadAheadOptions {
  readonly read: ReadRange;
  /** Nothing behind this is wanted. */
  readonly endAt: number;
  /** Whether a read costs a request; reading ahead pays only then. */
  readonly isElsewhere: () => boolean;
}

/** A reader holds at most so much, or one block. */
const aheadBytes = 1024 * 1024;
const nothing: { readonly at: number; readonly bytes: Buffer } = { at: 0, bytes: Buffer.alloc(0) };

/** Reads stretches of what comes next with one request, since blocks are small and requests are slow. Holds one stretch. */
export class ReadAhead {
  readonly #options: ReadAheadOptions;
  #held = nothing;

  constructor(options: ReadAheadOptions) {
    this.#options = options;
  }

  async read(at: number, size: number): Promise<Buffer> {
    const { at: from, bytes } = this.#held;
    if (at >= from && at + size <= from + bytes.length) {
      return bytes.subarray(at - from, at - from + size);
    }
    const { read, endAt, isElsewhere } = this.#options;
    if (!isElsewhere()) return read(at, size);
    const fresh = await read(at, Math.max(size, Math.min(aheadBytes, endAt - at)));
    this.#held = { at, bytes: fresh };
    return fresh.subarray(0, size);
  }

  /** What is asked for next is read again: something was wrong with it. */
  forget(): void {
    this.#held = nothing;
  }
}
