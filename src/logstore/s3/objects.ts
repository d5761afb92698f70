import type * as sdk from "@aws-sdk/client-s3";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import { HodeiError } from "#error.ts";
import type { ObjectStore, StoredObject } from "#logstore/object-store.ts";

export interface S3ObjectsOptions {
  readonly bucket: string;
  /** Empty, or ends with a slash. */
  readonly prefix: string;
  readonly timeoutMs: number;
  readonly tries: number;
  readonly firstPauseMs: number;
}

/** An upload may be as slow as this before it is given up. */
const leastBytesPerMs = 64;
/** One request stores at most so much. */
const mostPutBytes = 5 * 1024 ** 3;

/** Objects in a bucket; `openS3Objects` makes one. */
export class S3Objects implements ObjectStore {
  readonly name: string;
  readonly #sdk: typeof sdk;
  readonly #client: sdk.S3Client;
  readonly #options: S3ObjectsOptions;
  readonly #closed = new AbortController();

  constructor(loaded: typeof sdk, client: sdk.S3Client, options: S3ObjectsOptions) {
    this.name = `s3://${options.bucket}/${options.prefix}`;
    this.#sdk = loaded;
    this.#client = client;
    this.#options = options;
  }

  async put(key: string, path: string): Promise<void> {
    const { size } = await stat(path);
    if (size > mostPutBytes) throw new HodeiError("invalid_argument", `${path} is too large`);
    const digest = await md5Of(path);
    const timeoutMs = this.#options.timeoutMs + Math.ceil(size / leastBytesPerMs);
    await this.#try("write", { key, timeoutMs }, async (abortSignal) => {
      const body = createReadStream(path);
      try {
        const command = new this.#sdk.PutObjectCommand({
          ...this.#place(key),
          Body: body,
          ContentLength: size,
          ContentMD5: digest,
        });
        await this.#client.send(command, { abortSignal });
      } finally {
        body.destroy();
      }
    });
  }

  async write(key: string, bytes: Buffer): Promise<void> {
    const timeoutMs = this.#options.timeoutMs + Math.ceil(bytes.length / leastBytesPerMs);
    const command = new this.#sdk.PutObjectCommand({
      ...this.#place(key),
      Body: bytes,
      ContentLength: bytes.length,
      ContentMD5: createHash("md5").update(bytes).digest("base64"),
    });
    await this.#try("write", { key, timeoutMs }, (abortSignal) =>
      this.#client.send(command, { abortSignal }),
    );
  }

  async read(key: string, at: number, size: number): Promise<Buffer | undefined> {
    const what = { key, timeoutMs: this.#options.timeoutMs };
    return this.#try("read", what, async (abortSignal) => {
      const Range = `bytes=${at}-${at + size - 1}`;
      const command = new this.#sdk.GetObjectCommand({ ...this.#place(key), Range });
      const answer = await this.#client.send(command, { abortSignal }).catch((error: unknown) => {
        if (nameOf(error) === "NoSuchKey") return undefined;
        throw error;
      });
      if (answer === undefined) return undefined;
      // A server that ignores the range would otherwise fill the memory.
      if ((answer.ContentLength ?? size) > size) throw new Error("more came than was asked for");
      const bytes = Buffer.from((await answer.Body?.transformToByteArray()) ?? []);
      if (bytes.length !== size) throw new Error(`${bytes.length} of ${size} bytes came`);
      return bytes;
    });
  }

  async *list(): AsyncGenerator<StoredObject> {
    const { bucket: Bucket, prefix: Prefix, timeoutMs } = this.#options;
    let StartAfter: string | undefined;
    for (;;) {
      const command = new this.#sdk.ListObjectsV2Command({ Bucket, Prefix, StartAfter });
      const page = await this.#try("list", { key: "", timeoutMs }, (abortSignal) =>
        this.#client.send(command, { abortSignal }),
      );
      for (const { Key, Size } of page.Contents ?? []) {
        if (Key !== undefined) yield { key: Key.slice(Prefix.length), bytes: Size ?? 0 };
      }
      StartAfter = page.Contents?.at(-1)?.Key;
      if (page.IsTruncated !== true || StartAfter === undefined) return;
    }
  }

  async delete(key: string): Promise<void> {
    const what = { key, timeoutMs: this.#options.timeoutMs };
    await this.#try("delete", what, (abortSignal) =>
      this.#client.send(new this.#sdk.DeleteObjectCommand(this.#place(key)), { abortSignal }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    this.#client.destroy();
  }

  #place(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#options.bucket, Key: `${this.#options.prefix}${key}` };
  }

  async #try<Value>(
    verb: string,
    { key, timeoutMs }: { readonly key: string; readonly timeoutMs: number },
    call: (signal: AbortSignal) => Promise<Value>,
  ): Promise<Value> {
    const { tries, firstPauseMs } = this.#options;
    for (let trial = 1; ; trial++) {
      const signal = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(timeoutMs)]);
      try {
        return await call(signal);
      } catch (cause) {
        if (trial >= tries || this.#closed.signal.aborted || !mayPass(cause)) {
          throw this.#failure(verb, key, cause);
        }
        const pauseMs = Math.random() * firstPauseMs * 2 ** (trial - 1);
        await wait(pauseMs, undefined, { signal: this.#closed.signal }).catch(() => undefined);
      }
    }
  }

  #failure(verb: string, key: string, cause: unknown): HodeiError {
    const text = `cannot ${verb} ${key === "" ? "objects" : key} in the log archive ${this.name}`;
    if (nameOf(cause) === "BadDigest") return new HodeiError("data_loss", text, { cause });
    const hint = mayPass(cause)
      ? "the archive cannot be reached now; try again"
      : "check HODEI_S3_* and the rights of the bucket";
    return new HodeiError("unavailable", text, { cause, hint });
  }
}

async function md5Of(path: string): Promise<string> {
  const hash = createHash("md5");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("base64");
}

/** What the server has refused for good is not tried again; whatever else there is may pass. */
function mayPass(error: unknown): boolean {
  const status = (error as Partial<sdk.S3ServiceException>).$metadata?.httpStatusCode;
  if (status === undefined || status < 400 || status >= 500) return true;
  return [408, 409, 425, 429].includes(status) || nameOf(error) === "BadDigest";
}

function nameOf(error: unknown): string | undefined {
  return error instanceof Error ? error.name : undefined;
}
