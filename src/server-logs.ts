import { join } from "node:path";
import type { Config } from "#config.ts";
import { openFileLogStore, type OpenFileLogStore } from "#logstore/files/open.ts";
import type { LogStore } from "#logstore/logstore.ts";
import type { ObjectStore } from "#logstore/object-store.ts";
import type { Logger } from "#telemetry.ts";
import { readNamed } from "./server-tls.ts";

export interface LogsGround {
  readonly directory: string;
  readonly log: Logger;
  readonly onBroken: (error: Error) => void;
}

export interface OpenedLogs {
  readonly logs: LogStore;
  /** The same where they are files of this server. */
  readonly files: OpenFileLogStore | undefined;
}

/** Opens the log store of the configuration, archived where the settings say so; `parts` closes it. */
export async function openLogs(
  config: Config,
  ground: LogsGround,
  parts: AsyncDisposableStack,
): Promise<OpenedLogs> {
  if (keepsLogsInRedis(config)) {
    return { logs: parts.use(await openShared(config, ground.log)), files: undefined };
  }
  const objects = await openArchive(config);
  const files = await openFileLogStore({
    directory: join(ground.directory, "logs"),
    quotaBytesPerAttempt: config.logQuotaBytes,
    quotaBytesPerTenant: config.logQuotaBytesPerTenant,
    shipping: objects && {
      objects,
      delayMs: config.logArchiveDelayMs,
      localMs: config.logArchiveLocalMs,
      localBytes: config.logArchiveLocalBytes,
    },
    log: ground.log,
    onBroken: ground.onBroken,
  });
  return { logs: parts.use(files), files };
}

/** Whether other servers can read the logs that come in here. */
export function keepsLogsInRedis({ logStore, store }: Config): boolean {
  return logStore === "redis" || (logStore === "auto" && store === "redis");
}

async function openShared(config: Config, log: Logger): Promise<LogStore> {
  // Redis' client is loaded for those who have one.
  const { openRedisLogStore } = await import("#logstore/redis/open.ts");
  return openRedisLogStore({
    url: config.redisUrl,
    instance: config.redisInstance,
    durability: config.redisDurability,
    allowsUnsafe: config.redisUnsafeAllowed,
    commandTimeoutMs: config.redisTimeoutMs,
    ...(config.redisCaFile === "" ? {} : { caFile: config.redisCaFile }),
    quotaBytesPerAttempt: config.logQuotaBytes,
    quotaBytesPerTenant: config.logQuotaBytesPerTenant,
    liveBytesPerLog: config.logLiveBytes,
    liveBytes: config.logLiveTotalBytes,
    sealDelayMs: config.logArchiveDelayMs,
    objects: await openArchive(config),
    log,
  });
}

async function openArchive(config: Config): Promise<ObjectStore | undefined> {
  switch (config.logArchive) {
    case "none":
      return undefined;
    case "directory": {
      const { openDirectoryObjects } = await import("#logstore/directory/objects.ts");
      return openDirectoryObjects(config.logArchiveDirectory);
    }
    case "s3":
      return openBucket(config);
  }
}

async function openBucket(config: Config): Promise<ObjectStore> {
  const { openS3Objects } = await import("#logstore/s3/open.ts");
  const file = config.s3SecretAccessKeyFile;
  const secretAccessKey =
    file === ""
      ? config.s3SecretAccessKey
      : (await readNamed("HODEI_S3_SECRET_ACCESS_KEY_FILE", file)).trim();
  return openS3Objects({
    bucket: config.s3Bucket,
    prefix: config.s3Prefix,
    region: config.s3Region,
    endpoint: config.s3Endpoint,
    accessKeyId: config.s3AccessKeyId,
    secretAccessKey,
    forcePathStyle:
      config.s3ForcePathStyle === "" ? config.s3Endpoint !== "" : config.s3ForcePathStyle,
  });
}
