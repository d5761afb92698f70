import { describe, expect, it, test } from "vitest";
import { parseConfig } from "#config.ts";

describe("the settings of the log archive", () => {
  it("archive nothing unless told", () => {
    expect(parseConfig({}).config).toMatchObject({ logArchive: "none", s3ForcePathStyle: "" });
  });

  it("are read from their variables", () => {
    const { config, warnings } = parseConfig({
      HODEI_LOG_ARCHIVE: "S3",
      HODEI_S3_BUCKET: "logs",
      HODEI_S3_ENDPOINT: "http://127.0.0.1:9000",
      HODEI_S3_ACCESS_KEY_ID: "key",
      HODEI_S3_SECRET_ACCESS_KEY: "secret",
      HODEI_S3_FORCE_PATH_STYLE: "0",
    });
    expect(warnings).toEqual([]);
    expect(config).toMatchObject({ logArchive: "s3", s3Bucket: "logs", s3ForcePathStyle: false });
  });

  test.for([
    [{ HODEI_LOG_ARCHIVE: "s3" }, "HODEI_S3_BUCKET: "],
    [{ HODEI_LOG_ARCHIVE: "directory" }, "HODEI_LOG_ARCHIVE_DIRECTORY: "],
    [{ HODEI_LOG_ARCHIVE: "tape" }, "HODEI_LOG_ARCHIVE: "],
    [{ HODEI_S3_ENDPOINT: "minio:9000" }, "HODEI_S3_ENDPOINT: "],
    [{ HODEI_S3_ACCESS_KEY_ID: "key" }, "HODEI_S3_SECRET_ACCESS_KEY: "],
    [{ HODEI_S3_SECRET_ACCESS_KEY: "secret" }, "HODEI_S3_ACCESS_KEY_ID: "],
    [
      {
        HODEI_S3_ACCESS_KEY_ID: "key",
        HODEI_S3_SECRET_ACCESS_KEY: "secret",
        HODEI_S3_SECRET_ACCESS_KEY_FILE: "/file",
      },
      "HODEI_S3_SECRET_ACCESS_KEY_FILE: ",
    ],
  ] as const)("refuse %o", ([env, problem]) => {
    expect(() => parseConfig(env)).toThrow(problem);
  });
});
