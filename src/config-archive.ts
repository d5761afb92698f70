import { choice, maybe, text, whole } from "./setting.ts";

// Where logs that have ended are archived.

const minute = 60_000;
const day = 24 * 60 * minute;

export const archiveShape = {
  logArchive: choice(
    { values: ["none", "s3", "directory"], standard: "none" },
    "Where logs are archived: `s3` is a bucket of S3 or of anything that speaks its protocol, `directory` a folder such as a shared volume",
  ),
  logArchiveDirectory: text(
    "",
    "Folder of the log archive; replicas have to see the same, other servers one of their own",
  ),
  logArchiveDelayMs: whole(
    { least: 0, most: day, standard: 5 * minute },
    "How long after its end a log goes to the archive, or from its Redis stream into a segment",
  ),
  logArchiveLocalMs: whole(
    { least: 0, most: 3_650 * day, standard: day },
    "How long the disk keeps what is in the archive",
  ),
  logArchiveLocalBytes: whole(
    { least: 0, most: 2 ** 50, standard: 10 * 2 ** 30 },
    "Beyond so many bytes of archived logs the oldest leave the disk earlier",
  ),
  s3Bucket: text("", "Bucket of the log archive"),
  s3Prefix: text(
    "hodei/logs",
    "Begins the names of all objects; every server needs one of its own, replicas the same",
  ),
  s3Region: text("us-east-1", "Region of the bucket"),
  s3Endpoint: text("", "URL of an S3-compatible server; empty: Amazon's of the region"),
  s3AccessKeyId: text(
    "",
    "Access key; empty: what the AWS SDK finds, such as the role of the pod or machine",
  ),
  s3SecretAccessKey: text("", "Secret of the access key"),
  s3SecretAccessKeyFile: text("", "File with the secret of the access key"),
  s3ForcePathStyle: maybe(
    "Whether the bucket is in the path instead of the host's name; empty: where there is an endpoint",
  ),
};

interface ArchiveSettings {
  readonly logArchive: "none" | "s3" | "directory";
  readonly logArchiveDirectory: string;
  readonly s3Bucket: string;
  readonly s3Endpoint: string;
  readonly s3AccessKeyId: string;
  readonly s3SecretAccessKey: string;
  readonly s3SecretAccessKeyFile: string;
}

/** What is wrong with these settings together. */
export function archiveProblems(
  settings: ArchiveSettings,
): readonly (readonly [keyof ArchiveSettings, string])[] {
  const problems: (readonly [keyof ArchiveSettings, string])[] = [];
  const { s3AccessKeyId: key, s3SecretAccessKey: secret, s3SecretAccessKeyFile: file } = settings;
  if (settings.logArchive === "s3" && settings.s3Bucket === "") {
    problems.push(["s3Bucket", "is needed where HODEI_LOG_ARCHIVE is s3"]);
  }
  if (settings.logArchive === "directory" && settings.logArchiveDirectory === "") {
    problems.push(["logArchiveDirectory", "is needed where HODEI_LOG_ARCHIVE is directory"]);
  }
  if (settings.s3Endpoint !== "" && !/^https?:\/\/[^/]+/.test(settings.s3Endpoint)) {
    problems.push(["s3Endpoint", "has to be a URL with http or https"]);
  }
  if (secret !== "" && file !== "") {
    problems.push(["s3SecretAccessKeyFile", "cannot be given together with the secret itself"]);
  }
  if ((key !== "") !== (secret !== "" || file !== "")) {
    const missing = key === "" ? "s3AccessKeyId" : "s3SecretAccessKey";
    problems.push([missing, "access key and secret belong together"]);
  }
  return problems;
}
