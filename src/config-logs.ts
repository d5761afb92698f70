import { choice, whole } from "./setting.ts";

// Where logs are kept, and how much of them.

const mebibyte = 1024 * 1024;

export const logsShape = {
  logStore: choice(
    { values: ["auto", "files", "redis"], standard: "auto" },
    "Where logs are kept: `files` of this server's data directory, or the `redis` of HODEI_REDIS_URL, which replicas share; `auto`: where the jobs are",
  ),
  logQuotaBytes: whole(
    { least: 4_096, most: 2 ** 50, standard: 256 * mebibyte },
    "Log bytes that one attempt may keep",
  ),
  logQuotaBytesPerTenant: whole(
    { least: 0, most: 2 ** 50, standard: 0 },
    "When the logs of a tenant, with those in the archive, have more bytes, its logs keep only their first and last 128 KiB; 0: no bound",
  ),
  logLiveBytes: whole(
    { least: 64 * 1024, most: 1024 * mebibyte, standard: 4 * mebibyte },
    "Bytes of one log that stay in its Redis stream; the older ones are sealed into compressed segments",
  ),
  logLiveTotalBytes: whole(
    { least: mebibyte, most: 2 ** 50, standard: 1024 * mebibyte },
    "Bytes of all logs in Redis; when they are more, the logs that fill it wait until some were sealed",
  ),
};
