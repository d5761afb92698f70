import { join } from "node:path";
import type { Config } from "#config.ts";
import { openFileLogStore, type OpenFileLogStore } from "#logstore/files/open.ts";
import type { Shipping } from "#logstore/files/shipper.ts";
import type { Logger } from "#telemetry.ts";
import { readNamed } from "./server-tls.ts";

/** Opens the log store of one server: files in its directory, archived where the settings say so. */
export async function openLogs(
  config: Config,
  given: {
    readonly directory: string;
    readonly log: Logger;
    readonly onBroken: (error: Error) => void;
  },
): Promise<OpenFileLogStore> {
  return openFileLogStore({
    directory: join(given.directory, "logs"),
    quotaBytesPerAttempt: config.logQuotaBytes,
    shipping: await openShipping(config),
    log: given.log,
    onBroken: given.onBroken,
  });
}

async function openShipping(config: Config): Promise<Shipping | undefined> {
  if (config.logArchive === "none") return undefined;
  const { openS3Objects } = await import("#logstore/s3/open.ts");
  const file = config.s3SecretAccessKeyFile;
  const secretAccessKey =
    file === ""
      ? config.s3SecretAccessKey
      : (await readNamed("HODEI_S3_SECRET_ACCESS_KEY_FILE", file)).trim();
  const objects = await openS3Objects({
    bucket: config.s3Bucket,
    prefix: config.s3Prefix,
    region: config.s3Region,
    endpoint: config.s3Endpoint,
    accessKeyId: config.s3AccessKeyId,
    secretAccessKey,
    forcePathStyle:
      config.s3ForcePathStyle === "" ? config.s3Endpoint !== "" : config.s3ForcePathStyle,
  });
  return {
    objects,
    delayMs: config.logArchiveDelayMs,
    localMs: config.logArchiveLocalMs,
    localBytes: config.logArchiveLocalBytes,
  };
}
