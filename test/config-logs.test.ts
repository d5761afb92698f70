import { expect, test } from "vitest";
import { parseConfig } from "#config.ts";

test("without settings logs are kept where the jobs are, and a tenant may have any number of bytes", () => {
  const { config } = parseConfig({});
  expect(config).toMatchObject({ logStore: "auto", logQuotaBytesPerTenant: 0 });
});

test("the log store and its bounds are read from their variables", () => {
  const { config, warnings } = parseConfig({
    HODEI_LOG_STORE: "Redis",
    HODEI_LOG_QUOTA_BYTES_PER_TENANT: "1000000",
    HODEI_LOG_LIVE_BYTES: "1048576",
    HODEI_LOG_LIVE_TOTAL_BYTES: "2147483648",
  });
  expect(warnings).toEqual([]);
  expect(config).toMatchObject({
    logStore: "redis",
    logQuotaBytesPerTenant: 1_000_000,
    logLiveBytes: 2 ** 20,
    logLiveTotalBytes: 2 ** 31,
  });
});

test.for([
  [{ HODEI_LOG_STORE: "tape" }, "HODEI_LOG_STORE: "],
  [{ HODEI_LOG_LIVE_BYTES: "1" }, "HODEI_LOG_LIVE_BYTES: "],
  [{ HODEI_LOG_LIVE_TOTAL_BYTES: "1" }, "HODEI_LOG_LIVE_TOTAL_BYTES: "],
] as const)("refuses %o", ([env, problem]) => {
  expect(() => parseConfig(env)).toThrow(problem);
});
