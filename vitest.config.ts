import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { allServers, namedServers } from "./test/servers.ts";

/** `unit` runs in seconds and is part of `npm run check`; `npm test` runs both. What needs a server, such as `*.docker.test.ts`, runs where it is named. */
const named = namedServers(process.env);
const ofServers = allServers().map((name) => `test/**/*.${name}.test.ts`);
const unnamed = allServers().filter((name) => !named.has(name));
const slow = ["test/e2e/**/*.test.ts", "test/**/*.slow.test.ts", ...ofServers];

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
        // Files share their workers' modules, and one worker more than processors hides what they wait for: `check` has to answer in seconds.
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: slow,
          testTimeout: 10_000,
          isolate: false,
          maxWorkers: availableParallelism() + 1,
        },
      },
      {
        extends: true,
        test: {
          name: "slow",
          include: slow,
          exclude: unnamed.map((name) => `test/**/*.${name}.test.ts`),
          testTimeout: 120_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
