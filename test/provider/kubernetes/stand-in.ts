/** What the stand-in prints, so that it is found in the pod's log. */
export const reportMark = "HODEI_TEST_REPORT ";

/** Runs inside a worker's pod: takes its token from the file and does what its environment says. */
function standIn(mark: string): void {
  const { readFileSync } = process.getBuiltinModule("node:fs");
  const { spawn } = process.getBuiltinModule("node:child_process");
  const { isMainThread } = process.getBuiltinModule("node:worker_threads");
  if (!isMainThread) return;
  const way = process.env["TEST_WAY"] ?? "";
  process.on("SIGTERM", () => (way.includes("stubborn") ? undefined : process.exit(0)));
  const otp = readFileSync(process.env["HODEI_OTP_FILE"] ?? "", "utf8");
  const child = way.includes("job")
    ? spawn("sleep", ["600"], { detached: true, stdio: "ignore" })
    : undefined;
  const report = { jobPid: child?.pid, otpLength: otp.length, env: process.env };
  process.stdout.write(`${mark}${JSON.stringify(report)}\n`);
  if (way.includes("exit")) process.exit(3);
  setInterval(() => undefined, 600_000);
}

/** Options of Node that make any program of its the stand-in: whatever image the pod has, the suite needs none of its own. */
export function standInOptions(): string {
  const code = `(${standIn.toString()})(${JSON.stringify(reportMark)});\nawait new Promise(() => {});`;
  return `--import=data:text/javascript;base64,${Buffer.from(code).toString("base64")}`;
}
