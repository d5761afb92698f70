import { type Engine, unlessMissing } from "./engine.ts";

const mostLines = 500;
const mostBytes = 64 * 1024;
const mostKept = 200;

/** The last lines that a container printed, at most 64 KiB; undefined when it is gone. */
export async function readContainerTail(
  engine: Engine,
  containerId: string,
): Promise<Uint8Array | undefined> {
  const container = engine.calls.getContainer(containerId);
  const raw = await unlessMissing(
    container.logs({ stdout: true, stderr: true, tail: mostLines, follow: false }),
  );
  return raw === undefined ? undefined : Buffer.from(plainOf(raw).subarray(-mostBytes));
}

/** Without a terminal the engine puts eight bytes before every piece: stream, three zeros, length. */
export function plainOf(framed: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at + 8 <= framed.length;) {
    const end = at + 8 + framed.readUInt32BE(at + 4);
    pieces.push(framed.subarray(at + 8, end));
    at = end;
  }
  return Buffer.concat(pieces);
}

/** What containers had printed that were removed since, for as long as there is room. */
export class Tails {
  readonly #kept = new Map<string, Uint8Array>();

  keep(containerId: string, tail: Uint8Array): void {
    this.#kept.set(containerId, tail);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > mostKept && oldest !== undefined) this.#kept.delete(oldest);
  }

  find(containerId: string): Uint8Array | undefined {
    return this.#kept.get(containerId);
  }
}
