import { open, type FileHandle } from "node:fs/promises";

/** The one call to the disk that acknowledgements depend on; tests let it fail or wait. */
export interface Disk {
  /** Writes all pieces at `position`, and resolves once they are durable. The file was opened with O_DSYNC. */
  write(file: FileHandle, pieces: readonly Uint8Array[], position: number): Promise<void>;
}

/** Where warnings go. */
export interface WarningLog {
  warn(facts: object, message: string): void;
}

/** Linux takes at most so many pieces in one call. */
const mostPieces = 1024;
/** Many small pieces are cheaper copied than handed over one by one, and each call waits for the disk. */
const smallBytes = 1024;

export const realDisk: Disk = {
  async write(file, pieces, position) {
    const total = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (total < pieces.length * smallBytes) {
      await writePieces(file, [Buffer.concat(pieces)], position);
      return;
    }
    let at = position;
    for (let from = 0; from < pieces.length; from += mostPieces) {
      at += await writePieces(file, pieces.slice(from, from + mostPieces), at);
    }
  },
};

/** Makes created, renamed and deleted names of a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, "r");
  await folder.sync();
}

/** Reads exactly `size` bytes, or fewer at the end of the file. */
export async function readAt(file: FileHandle, at: number, size: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(size);
  let have = 0;
  while (have < size) {
    const { bytesRead } = await file.read(bytes, have, size - have, at + have);
    if (bytesRead === 0) break;
    have += bytesRead;
  }
  return bytes.subarray(0, have);
}

export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}

/** Whether there is no room, as opposed to a disk that is broken. */
export function isNoRoom(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT", "EFBIG"].includes(errorCode(error) ?? "");
}

/** A write may take a part only: on a full disk, or beyond 2 GiB. */
async function writePieces(
  file: FileHandle,
  pieces: readonly Uint8Array[],
  position: number,
): Promise<number> {
  const total = pieces.reduce((sum, piece) => sum + piece.length, 0);
  let { bytesWritten: done } = await file.writev(pieces, position);
  if (done === total) return total;
  const rest = Buffer.concat(pieces);
  while (done < total) {
    const { bytesWritten } = await file.write(rest, done, total - done, position + done);
    if (bytesWritten === 0) throw new Error("the disk took nothing");
    done += bytesWritten;
  }
  return total;
}
