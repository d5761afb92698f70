import { defineConfig } from "vitest/config";

/** `unit` runs in seconds and is part of `npm run check`; `npm test` runs both. */
const slow = ["test/e2e/**/*.test.ts", "test/**/*.slow.test.ts"];

const report = process.env["HODEI_TEST_REPORT"];

export default defineConfig({
  test: {
    pool: "forks",
    // CI reads its summary line from a report in this file.
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
    globalSetup: ["test/servers.ts"],
    projects: [
      {
        extends: true,
        test: { name: "unit", include: ["test/**/*.test.ts"], exclude: slow, testTimeout: 10_000 },
      },
      {
        extends: true,
        test: { name: "slow", include: slow, testTimeout: 120_000, hookTimeout: 60_000 },
      },
    ],
  },
});
