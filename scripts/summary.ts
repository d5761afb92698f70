// Prints "N passed, N failed" from vitest's JSON report, and fails when anything did.
import { readFileSync } from "node:fs";
import { z } from "zod";

const Report = z.object({
  success: z.boolean(),
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numFailedTestSuites: z.number(),
});

const [path = "", failedBefore] = process.argv.slice(2);
const report = readReport(path);
const passed = report?.numPassedTests ?? 0;
const broken = report === undefined || !report.success || failedBefore === "1";
// A file that does not load, a crashed runner or a failed check is no test, but it is a failure.
const failed = Math.max(report?.numFailedTests ?? 0, broken || passed === 0 ? 1 : 0);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;

function readReport(file: string): z.infer<typeof Report> | undefined {
  try {
    return Report.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (error) {
    console.error(`no test report: ${String(error)}`);
    return undefined;
  }
}
