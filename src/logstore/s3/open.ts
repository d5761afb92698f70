import type { S3ClientConfig } from "@aws-sdk/client-s3";
import { HodeiError } from "#error.ts";
import type { ObjectStore } from "#logstore/object-store.ts";
import { S3Objects } from "./objects.ts";

/** What the SDK would write to the console comes with the error. */
const nothing = (): void => undefined;
const silent = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing };

/** How to reach a bucket. */
export interface S3Options {
  readonly bucket: string;
  /** Begins every key; one of its own for each server. */
  readonly prefix: string;
  readonly region: string;
  /** Of an S3-compatible server; empty: Amazon's. */
  readonly endpoint: string;
  /** Empty, with the secret: the chain of the SDK (a role of the pod or machine, a profile). */
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** The bucket is in the path instead of the host's name, as most S3-compatible servers want it. */
  readonly forcePathStyle: boolean;
  /** Most time of one try of a small call; an upload gets more by its size. */
  readonly timeoutMs?: number;
  /** Tries of one call. */
  readonly tries?: number;
  /** Pause before the second try at most; it doubles. */
  readonly firstPauseMs?: number;
}

/** Opens a bucket of S3 or of anything that speaks its protocol. Nothing is asked of it yet. The SDK is loaded here, so that nobody else waits for it. */
export async function openS3Objects(options: S3Options): Promise<ObjectStore> {
  const { endpoint, region, forcePathStyle, accessKeyId, secretAccessKey } = options;
  if (options.bucket === "") throw new HodeiError("invalid_argument", "S3 needs a bucket");
  const sdk = await import("@aws-sdk/client-s3");
  const timeoutMs = options.timeoutMs ?? 10_000;
  const config: S3ClientConfig = {
    region,
    forcePathStyle,
    logger: silent,
    // Tries are made here, where the whole body is known to have come.
    maxAttempts: 1,
    // Older S3-compatible servers know no checksums in trailers; we send and check our own.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: { connectionTimeout: Math.min(timeoutMs, 5_000) },
    ...(endpoint === "" ? {} : { endpoint }),
    ...(accessKeyId === "" ? {} : { credentials: { accessKeyId, secretAccessKey } }),
  };
  return new S3Objects(sdk, new sdk.S3Client(config), {
    bucket: options.bucket,
    prefix: options.prefix === "" ? "" : `${options.prefix.replaceAll(/^\/+|\/+$/g, "")}/`,
    timeoutMs,
    tries: options.tries ?? 4,
    firstPauseMs: options.firstPauseMs ?? 200,
  });
}
