// Stands in for the agent in the provider suite: takes its token from the pipe and does what its environment says.
import { spawn } from "node:child_process";
import { closeSync, readFileSync, writeFileSync } from "node:fs";

const file = process.env["TEST_REPORT"] ?? "/dev/null";
const otp = readFileSync(3, "utf8");
closeSync(3);
const way = process.env["TEST_WAY"] ?? "";
if (way.includes("stubborn")) process.on("SIGTERM", () => undefined);
const child = way.includes("job")
  ? spawn("sleep", ["600"], { detached: true, stdio: "ignore" })
  : undefined;
const report = { pid: process.pid, jobPid: child?.pid, otpLength: otp.length, env: process.env };
writeFileSync(`${file}.${process.env["HODEI_WORKER_ID"]}`, JSON.stringify(report));
if (way.includes("escape")) {
  // Away from its group, its session, its parent and its environment.
  const script = "setsid env -i sleep 543.21 & exit 0";
  spawn("setsid", ["sh", "-c", script], { env: { PATH: process.env["PATH"] }, stdio: "ignore" });
}
if (way.includes("exit")) process.exit(3);
setTimeout(() => undefined, 600_000);
