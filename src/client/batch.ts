/** What the server takes in one message, less a little for its frame. */
export const batchLimits = { jobs: 1_000, bytes: 1024 * 1024 - 1024, headBytes: 16 } as const;

const batchTag = 8; // Field 1, varint.
const jobTag = 18; // Field 2, length-delimited.

/** Bytes that an encoded job takes in a batch. */
export function framedBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

/** A `SubmitJobsRequest` around jobs that are already encoded, so that each is encoded once, also when it is sent again. */
export function encodeBatch(batch: number, jobs: readonly Uint8Array[]): Buffer {
  let size = 1 + varintBytes(batch);
  for (const job of jobs) size += framedBytes(job.length);
  const bytes = Buffer.allocUnsafe(size);
  bytes[0] = batchTag;
  let at = writeVarint(bytes, 1, batch);
  for (const job of jobs) {
    bytes[at] = jobTag;
    at = writeVarint(bytes, at + 1, job.length);
    bytes.set(job, at);
    at += job.length;
  }
  return bytes;
}

function varintBytes(value: number): number {
  let size = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) size++;
  return size;
}

function writeVarint(bytes: Buffer, from: number, value: number): number {
  let at = from;
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes[at++] = (rest % 128) | 128;
  bytes[at++] = rest;
  return at;
}
