/**
 * Where a log store archives what has ended: immutable objects under one prefix. Every call is bounded in time and retries what may pass. Error:
 * `unavailable` naming the archive when it cannot be reached or refuses.
 */
export interface ObjectStore extends AsyncDisposable {
  /** For messages, such as `s3://bucket/prefix`. */
  readonly name: string;
  /** Stores a file's bytes as they are; storing the same again changes nothing. Error: `data_loss` when they were damaged on the way. */
  put(key: string, path: string): Promise<void>;
  /** `put` for bytes that are in memory. */
  write(key: string, bytes: Buffer): Promise<void>;
  /** Exactly `size` bytes from `at` on; undefined when there is no such object. */
  read(key: string, at: number, size: number): Promise<Buffer | undefined>;
  /** Every object, in the order of the keys. */
  list(): AsyncIterable<StoredObject>;
  /** Deletes an object; an unknown one is deleted already. */
  delete(key: string): Promise<void>;
}

export interface StoredObject {
  readonly key: string;
  readonly bytes: number;
}
